//! Where the commands read the ledger: in the database, or through a running gateway. Both give the
//! same answers.

use prost_types::Timestamp;
use tonic::{
    Status, metadata::MetadataMap, service::interceptor::InterceptedService, transport::Channel,
};

use super::remote;
use crate::{
    cli::{
        client::{self, AdminErrors},
        database,
        failure::Failure,
    },
    clock::{UnixMs, milliseconds, now},
    config,
    ledger::{ALL_TIME, CallFilter, Order, Queries, Record, UsageQuery},
    proto::{
        admin::v1::{
            ExportCallsRequest, ListCallsRequest, QueryUsageRequest,
            usage_service_client::UsageServiceClient,
        },
        v1::UsageRow,
    },
    service::usage_messages::usage_rows,
};

/// How many calls are read at once.
const PAGE: u32 = 1000;

/// The latest time that a gateway takes, for a filter whose time has no end. Without it, a time
/// that begins after now would be an error there, and no error in the database.
const LATEST: Timestamp = Timestamp {
    seconds: 253_402_300_799,
    nanos: 0,
};

type Client = UsageServiceClient<InterceptedService<Channel, client::Key>>;

/// Where the ledger is read.
pub(in crate::cli) enum Source {
    /// In the database itself.
    Database(Queries),
    /// Through a gateway.
    Gateway(Client, AdminErrors),
}

/// Which calls are read.
#[derive(Clone)]
pub(in crate::cli) struct Filter {
    /// Only those of the keys with these ids or names. A gateway finds the keys itself.
    keys: Vec<String>,
    /// Which of them. Its keys are those that the database has.
    pub(in crate::cli) calls: CallFilter,
}

impl Source {
    /// Opens the database, which must exist, or connects to the gateway.
    ///
    /// # Errors
    /// It cannot be used.
    pub(in crate::cli) async fn open(place: &config::AdminPlace) -> Result<Self, Failure> {
        let Some(gateway) = place.gateway() else {
            let store = database::open(&place.database).await?;
            return Ok(Self::Database(Queries::new(store)));
        };
        let (channel, key, errors) = client::connect_as_admin(&gateway).await?;
        let client = UsageServiceClient::with_interceptor(channel, key);
        let client = client.max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        Ok(Self::Gateway(client, errors))
    }

    /// Ends the connections to the database.
    pub(in crate::cli) async fn close(&self) {
        if let Self::Database(queries) = self {
            queries.close().await;
        }
    }

    /// Adds up the calls of the keys with these ids or names, or of all keys. Returns the sums by
    /// the grouping, and the sum of all. A query whose time has no end ends now.
    ///
    /// # Errors
    /// There is no such key, or the ledger cannot be read.
    pub(in crate::cli) async fn usage(
        &self,
        keys: &[String],
        mut query: UsageQuery,
    ) -> Result<(Vec<UsageRow>, UsageRow), Failure> {
        match self {
            Self::Database(queries) => {
                query.keys = queries.keys_named(keys).await?;
                if query.range.end == ALL_TIME.end {
                    // The present hour is part of it.
                    query.range.end = now().saturating_add(1);
                }
                Ok(usage_rows(&queries.usage(&query).await?))
            }
            Self::Gateway(client, errors) => {
                let request = QueryUsageRequest {
                    by: remote::groups(query.grouping),
                    keys: keys.to_vec(),
                    models: query.models,
                    accounts: query.accounts,
                    start_time: remote::start(&query.range),
                    end_time: remote::end(&query.range),
                    ..QueryUsageRequest::default()
                };
                let answer = client.clone().query_usage(request).await;
                let answer = answer.map_err(|status| errors.of_named(&status, keys))?;
                let answer = answer.into_inner();
                Ok((answer.rows, answer.total.unwrap_or_default()))
            }
        }
    }

    /// The calls of the keys with these ids or names, or of all keys, that pass `calls`.
    ///
    /// # Errors
    /// There is no such key, or the ledger cannot be read. A gateway tells it when it is asked for
    /// the calls.
    pub(in crate::cli) async fn filter(
        &self,
        keys: Vec<String>,
        mut calls: CallFilter,
    ) -> Result<Filter, Failure> {
        if let Self::Database(queries) = self {
            calls.keys = queries.keys_named(&keys).await?;
        }
        Ok(Filter { keys, calls })
    }

    /// At most `limit` calls that pass `filter`: those that ended last, the latest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(in crate::cli) async fn last(
        &self,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Record>, Failure> {
        let mut calls: Vec<Record> = Vec::new();
        let mut page_token = String::new();
        loop {
            let left = limit.saturating_sub(u32::try_from(calls.len()).unwrap_or(u32::MAX));
            let size = left.min(PAGE);
            if size == 0 {
                return Ok(calls);
            }
            let is_last = match self {
                Self::Database(queries) => {
                    let after = calls.last().map(Record::cursor);
                    let page = queries.calls(&filter.calls, Order::NewestFirst, after, size);
                    let page = page.await?;
                    let is_last = page.is_empty();
                    calls.extend(page);
                    is_last
                }
                Self::Gateway(client, errors) => {
                    let request = ListCallsRequest {
                        page_size: i32::try_from(size).unwrap_or(i32::MAX),
                        page_token: std::mem::take(&mut page_token),
                        ..list(filter)
                    };
                    let page = client.clone().list_calls(request).await;
                    let page = page.map_err(|status| errors.of_named(&status, &filter.keys))?;
                    let page = page.into_inner();
                    for call in page.calls {
                        calls.push(remote::record(call)?);
                    }
                    page_token = page.next_page_token;
                    page_token.is_empty()
                }
            };
            if is_last {
                return Ok(calls);
            }
        }
    }

    /// Gives all calls that pass `filter` to `take`, some at a time, the oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read, or an error of `take`.
    pub(in crate::cli) async fn each(
        &self,
        filter: &Filter,
        mut take: impl FnMut(Vec<Record>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let queries = match self {
            Self::Database(queries) => queries,
            Self::Gateway(client, errors) => return export(client, *errors, filter, take).await,
        };
        let mut after = None;
        loop {
            let page = queries.calls(&filter.calls, Order::OldestFirst, after, PAGE);
            let page = page.await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.cursor());
            take(page)?;
        }
    }

    /// The time by the clock of the gateway that is asked, in whole seconds, which may differ from
    /// that of this machine. With a database, the time of this machine.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub(in crate::cli) async fn now(&self) -> Result<UnixMs, Failure> {
        let Self::Gateway(client, errors) = self else {
            return Ok(now());
        };
        let request = ListCallsRequest {
            page_size: 1,
            ..ListCallsRequest::default()
        };
        let answer = client.clone().list_calls(request).await;
        let answer = answer.map_err(|status| errors.of(&status))?;
        Ok(date(answer.metadata()).unwrap_or_else(now))
    }
}

/// The time in the header `date`.
fn date(metadata: &MetadataMap) -> Option<UnixMs> {
    let date = metadata.get("date")?.to_str().ok()?;
    let since = httpdate::parse_http_date(date).ok()?;
    let since = since.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(milliseconds(since))
}

/// Gives the calls of a gateway to `take`.
async fn export(
    client: &Client,
    errors: AdminErrors,
    filter: &Filter,
    mut take: impl FnMut(Vec<Record>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let ListCallsRequest {
        model,
        account,
        ending,
        start_time,
        end_time,
        keys,
        ..
    } = list(filter);
    let request = ExportCallsRequest {
        model,
        account,
        ending,
        start_time,
        end_time,
        keys,
        ..ExportCallsRequest::default()
    };
    let calls = client.clone().export_calls(request).await;
    let failure = |status: Status| errors.of_named(&status, &filter.keys);
    let mut calls = calls.map_err(failure)?.into_inner();
    let mut page = Vec::new();
    while let Some(call) = calls.message().await.map_err(failure)? {
        page.push(remote::record(call.call.unwrap_or_default())?);
        if page.len() >= PAGE as usize {
            take(std::mem::take(&mut page))?;
        }
    }
    take(page)
}

/// The request for a page of the calls that pass `filter`.
fn list(filter: &Filter) -> ListCallsRequest {
    let calls = &filter.calls;
    ListCallsRequest {
        model: calls.model.clone().unwrap_or_default(),
        account: calls.account.clone().unwrap_or_default(),
        ending: calls.ending.map_or("", |ending| ending.name()).to_owned(),
        start_time: remote::start(&calls.range),
        end_time: Some(remote::end(&calls.range).unwrap_or(LATEST)),
        keys: filter.keys.clone(),
        ..ListCallsRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_gateway_is_that_of_its_answer() {
        let mut metadata = MetadataMap::new();
        assert_eq!(date(&metadata), None);
        metadata.insert("date", "Sun, 29 Nov 2026 00:00:01 GMT".parse().unwrap());
        assert_eq!(date(&metadata), Some(1_795_910_401_000));
        metadata.insert("date", "soon".parse().unwrap());
        assert_eq!(date(&metadata), None);
    }
}
