//! `UsageService`: what calls of models have used.

use futures_util::{Stream, stream};

use super::{
    paging,
    times::timestamp,
    usage_query::{self, LAST_WEEK_MS, Span, number, seconds},
};
use crate::{
    error::{Error, ErrorCode, Result},
    keys::KeysError,
    ledger::{
        CallFilter, Cursor, Ending, Grouping, KeysNamedError, Order, Queries, Record, UsageQuery,
    },
    proto::admin::v1::{
        CallRecord, ExportCallsRequest, ExportCallsResponse, ListCallsRequest, ListCallsResponse,
        QueryUsageRequest, QueryUsageResponse,
    },
    service::Call,
};

/// How many calls an export reads at a time.
const EXPORT_BATCH: u32 = 1000;

/// The service of usage.
#[derive(Clone, Debug)]
pub struct AdminUsage {
    queries: Option<Queries>,
}

/// The largest number of keys, of models, and of accounts, in a request. Each is a parameter of a statement.
const NAMED_MAX: usize = 100;

/// The filter of a request for calls.
struct Question {
    keys: Vec<String>,
    model: String,
    account: String,
    ending: String,
    span: Span,
}

impl AdminUsage {
    /// The service over a ledger. Without one, all calls fail.
    pub fn new(queries: Option<Queries>) -> Self {
        Self { queries }
    }

    /// Adds up calls.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a wrong time or group;
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) for a key that the database does not have;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the database fails.
    pub async fn query(
        &self,
        call: Call,
        request: QueryUsageRequest,
    ) -> Result<QueryUsageResponse> {
        call.note_rpc("QueryUsage");
        let query = async {
            let by_key = Grouping {
                by_key: true,
                ..Grouping::default()
            };
            let span = Span {
                start_time: request.start_time,
                end_time: request.end_time,
                since: request.since,
            };
            let queries = queries(&self.queries)?;
            let query = UsageQuery {
                grouping: usage_query::grouping(&request.by, by_key)?,
                range: span.range(LAST_WEEK_MS)?,
                keys: keys_named(queries, &named("keys", request.key, request.keys)?).await?,
                models: named("models", request.model, request.models)?,
                accounts: named("accounts", request.account, request.accounts)?,
            };
            let rows = queries.usage(&query).await?;
            let (rows, total) = usage_query::rows(&rows);
            Ok(QueryUsageResponse {
                rows,
                total: Some(total),
            })
        };
        call.run(query).await
    }

    /// A page of calls, newest first.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn list(&self, call: Call, request: ListCallsRequest) -> Result<ListCallsResponse> {
        call.note_rpc("ListCalls");
        let list = async {
            let size = paging::size(request.page_size)?;
            let text = format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                request.key,
                request.keys,
                request.model,
                request.account,
                request.ending,
                request.start_time,
                request.end_time,
                request.since
            );
            let parse = |place: &str| place.parse::<Cursor>().ok();
            let after = paging::place(&request.page_token, &text, parse)?;
            let question = Question {
                keys: named("keys", request.key, request.keys)?,
                model: request.model,
                account: request.account,
                ending: request.ending,
                span: Span {
                    start_time: request.start_time,
                    end_time: request.end_time,
                    since: request.since,
                },
            };
            let queries = queries(&self.queries)?;
            let filter = question.filter(queries).await?;
            let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
            let calls = queries
                .calls(&filter, Order::NewestFirst, after, limit)
                .await;
            let mut calls = calls.map_err(KeysError::Store)?;
            let has_more = calls.len() > size;
            calls.truncate(size);
            let last = calls.last().filter(|_| has_more);
            let token = last.map(|last| paging::token(&last.cursor().to_string(), &text));
            Ok(ListCallsResponse {
                calls: calls.iter().map(record).collect(),
                next_page_token: token.unwrap_or_default(),
            })
        };
        call.run(list).await
    }

    /// All calls, oldest first. The first of them are read before this returns. The stream ends
    /// after an error.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn export(
        &self,
        call: Call,
        request: ExportCallsRequest,
    ) -> Result<impl Stream<Item = Result<ExportCallsResponse>> + Send + use<>> {
        call.note_rpc("ExportCalls");
        let begin = async {
            let question = Question {
                keys: named("keys", request.key, request.keys)?,
                model: request.model,
                account: request.account,
                ending: request.ending,
                span: Span {
                    start_time: request.start_time,
                    end_time: request.end_time,
                    since: request.since,
                },
            };
            let queries = queries(&self.queries)?.clone();
            let filter = question.filter(&queries).await?;
            let mut reading = Reading {
                queries,
                filter,
                after: None,
            };
            let batch = reading.batch().await?;
            Ok((reading, batch))
        };
        let (reading, batch) = call.run_part(begin).await?;
        let export = Export {
            call,
            reading,
            batch: batch.into_iter(),
        };
        Ok(stream::unfold(Some(export), async |export| {
            let mut export = export?;
            match export.next().await {
                Ok(Some(call)) => {
                    let call = Some(call);
                    Some((Ok(ExportCallsResponse { call }), Some(export)))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

/// An export that runs.
struct Export {
    call: Call,
    reading: Reading,
    batch: std::vec::IntoIter<Record>,
}

/// Which calls an export reads, and how far it is.
struct Reading {
    queries: Queries,
    filter: CallFilter,
    after: Option<Cursor>,
}

impl Export {
    /// The next call.
    async fn next(&mut self) -> Result<Option<CallRecord>> {
        if let Some(call) = self.batch.next() {
            return Ok(Some(record(&call)));
        }
        let batch = self.call.run_part(self.reading.batch()).await?;
        self.batch = batch.into_iter();
        let next = self.batch.next().map(|call| record(&call));
        if next.is_none() {
            self.call.finish();
        }
        Ok(next)
    }
}

impl Reading {
    /// The next calls. None are left if there is none.
    async fn batch(&mut self) -> Result<Vec<Record>> {
        let Self {
            queries,
            filter,
            after,
        } = self;
        let calls = queries.calls(filter, Order::OldestFirst, *after, EXPORT_BATCH);
        let calls = calls.await.map_err(KeysError::Store)?;
        *after = calls.last().map(Record::cursor);
        Ok(calls)
    }
}

impl Question {
    async fn filter(&self, queries: &Queries) -> Result<CallFilter> {
        let ending = match self.ending.as_str() {
            "" => None,
            text => Some(Ending::from_name(text).ok_or_else(|| {
                Error::invalid("ending", "expected finished, failed or cancelled")
            })?),
        };
        Ok(CallFilter {
            // Of all time.
            range: self.span.clone().range(crate::keys::clock::now())?,
            keys: keys_named(queries, &self.keys).await?,
            model: Some(self.model.clone()).filter(|model| !model.is_empty()),
            account: Some(self.account.clone()).filter(|account| !account.is_empty()),
            ending,
        })
    }
}

/// The ledger.
///
/// # Errors
/// [`Kind::Unavailable`](crate::error::Kind::Unavailable) without one.
pub(in crate::service) fn queries(queries: &Option<Queries>) -> Result<&Queries> {
    queries.as_ref().ok_or_else(|| {
        let message = "This gateway runs without a database, so it has no ledger";
        Error::new(ErrorCode::DatabaseUnavailable, message)
    })
}

/// What a request names in two fields, one for a single name and one for several.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for an empty name among several, or for too many.
fn named(param: &str, one: String, several: Vec<String>) -> Result<Vec<String>> {
    if several.iter().any(String::is_empty) {
        return Err(Error::invalid(param, "one of them is empty"));
    }
    let one = Some(one).filter(|one| !one.is_empty());
    let all: Vec<_> = one.into_iter().chain(several).collect();
    if all.len() > NAMED_MAX {
        let problem = format!("expected at most {NAMED_MAX}");
        return Err(Error::invalid(param, problem));
    }
    Ok(all)
}

/// The keys with these ids or names; none for all keys.
async fn keys_named(queries: &Queries, keys: &[String]) -> Result<Vec<uuid::Uuid>> {
    let named = queries.keys_named(keys).await;
    let named = named.map_err(|error| match error {
        KeysNamedError::Unknown(name) => KeysError::NotFound(name.chars().take(200).collect()),
        KeysNamedError::Store(error) => KeysError::Store(error),
    });
    Ok(named?)
}

fn record(record: &Record) -> CallRecord {
    let tokens = &record.tokens;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    CallRecord {
        id: record.id.to_string(),
        arrived_at: Some(timestamp(record.arrived_at())),
        ended_at: Some(timestamp(record.ended_at)),
        key: record.key_name.to_string(),
        key_id: record.key_id.to_string(),
        door: record.door.name().to_owned(),
        rpc: record.rpc.name().to_owned(),
        model_asked: record.model_asked.to_string(),
        model: record.model.to_string(),
        account: record.account.to_string(),
        ending: record.ending.name().to_owned(),
        error_code: text(&record.error_code),
        prompt_tokens: number(tokens.prompt),
        completion_tokens: number(tokens.completion),
        reasoning_tokens: number(tokens.reasoning),
        cached_tokens: number(tokens.cached),
        token_source: tokens.source.name().to_owned(),
        units: i32::try_from(record.units).unwrap_or(i32::MAX),
        unit_seconds: seconds(record.unit_ms),
        waited_ms: number(record.waited_ms),
        first_token_ms: record.first_token_ms.map(number),
        duration_ms: number(record.duration_ms),
        attempts: i32::try_from(record.attempts).unwrap_or(i32::MAX),
        request_id: text(&record.request_id),
        upstream_request_id: text(&record.upstream_request_id),
    }
}
