//! `CallerService`: what a caller may know of its own key.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    admin::{
        limits, messages, queries,
        times::timestamp,
        usage_query::{self, LAST_WEEK_MS, Span},
    },
    call::Call,
};
use crate::{
    error::Result,
    keys::{self, Identity, RateStatus, clock},
    ledger::{Grain, Grouping, Queries, UsageQuery, fixed_id},
    proto::v1::{
        self, GetOwnKeyRequest, GetOwnKeyResponse, GetOwnUsageRequest, GetOwnUsageResponse,
    },
};

/// For how many callers calls are added up at the same time. An administrator waits for no more
/// callers than these.
const SUMS_AT_ONCE: usize = 1;

/// The service of the caller's own key. All clones wait for the same turns.
#[derive(Clone, Debug)]
pub struct Caller {
    queries: Option<Queries>,
    turns: Arc<Semaphore>,
}

impl Caller {
    /// The service over a ledger. Without one it has no usage.
    pub fn new(queries: Option<Queries>) -> Self {
        let turns = Arc::new(Semaphore::new(SUMS_AT_ONCE));
        Self { queries, turns }
    }

    /// The key of the caller, and what is left of its limits.
    ///
    /// # Errors
    /// None of its own.
    pub async fn key(&self, call: Call, _: GetOwnKeyRequest) -> Result<GetOwnKeyResponse> {
        call.note_rpc("GetOwnKey");
        let key = async { Ok(key(&call.identity).await) };
        call.run(key).await
    }

    /// The sums of the calls of the caller's key.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a wrong time or group;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the database fails.
    pub async fn usage(
        &self,
        call: Call,
        request: GetOwnUsageRequest,
    ) -> Result<GetOwnUsageResponse> {
        call.note_rpc("GetOwnUsage");
        let usage = async {
            let by_model_and_day = Grouping {
                by_model: true,
                by_time: Some(Grain::Day),
                ..Grouping::default()
            };
            let span = Span {
                start_time: request.start_time,
                end_time: request.end_time,
                since: request.since,
            };
            let identity = &call.identity;
            let id = identity.id();
            let query = UsageQuery {
                grouping: usage_query::grouping(&request.by, by_model_and_day)?,
                range: span.range(LAST_WEEK_MS)?,
                keys: vec![id.unwrap_or_else(|| fixed_id(identity.name()))],
                models: Vec::new(),
                accounts: Vec::new(),
            };
            let queries = queries(&self.queries)?;
            // Never closed.
            let _turn = self.turns.acquire().await.ok();
            let (rows, total) = usage_query::rows(&queries.usage(&query).await?);
            Ok(GetOwnUsageResponse {
                rows,
                total: Some(total),
            })
        };
        call.run(usage).await
    }
}

async fn key(identity: &Identity) -> GetOwnKeyResponse {
    let now = clock::now();
    GetOwnKeyResponse {
        id: identity.id().map(|id| id.to_string()).unwrap_or_default(),
        name: identity.name().to_owned(),
        role: messages::role(identity.role()).into(),
        // Another one is not let in.
        state: messages::state(keys::KeyState::Active).into(),
        expires_at: identity.expires_at().map(timestamp),
        limits: Some(limits::to_message(identity.limits())),
        budgets: identity
            .budgets(now)
            .iter()
            .map(limits::budget_status)
            .collect(),
        requests_per_minute: identity.calls_in_a_minute(now).await.map(rate),
        tokens_per_minute: identity.tokens_in_a_minute(now).await.map(rate),
    }
}

fn rate(status: RateStatus) -> v1::RateStatus {
    v1::RateStatus {
        limit: number(status.limit),
        left: number(status.left),
        renews_at: Some(timestamp(status.renews_at)),
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::DatabaseLocation, store::Store};

    #[tokio::test]
    async fn callers_wait_for_each_other_and_administrators_do_not_wait_for_them() {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        let queries = Queries::new(store);
        let caller = Caller::new(Some(queries.clone()));
        let turn = caller.turns.acquire().await.unwrap();
        let other = caller.clone();
        let mut waiting = Box::pin(other.usage(Call::internal(), GetOwnUsageRequest::default()));
        let query = UsageQuery::default();
        tokio::select! {
            biased;
            own = &mut waiting => panic!("{own:?}"),
            rows = queries.usage(&query) => assert_eq!(rows.unwrap(), []),
        }
        drop(turn);
        assert_eq!(waiting.await.unwrap().rows, []);
        assert_eq!(caller.turns.available_permits(), SUMS_AT_ONCE);
    }
}
