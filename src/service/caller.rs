//! `CallerService`: what a caller may know of its own key.

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
    keys::{self, BudgetStatus, Identity, KeysError, RateStatus, clock},
    ledger::{Grain, Grouping, Queries, UsageQuery, fixed_id},
    proto::v1::{
        self, GetOwnKeyRequest, GetOwnKeyResponse, GetOwnUsageRequest, GetOwnUsageResponse,
    },
};

/// The service of the caller's own key.
#[derive(Clone, Debug)]
pub struct Caller {
    queries: Option<Queries>,
}

impl Caller {
    /// The service over a ledger. Without one it has no usage.
    pub fn new(queries: Option<Queries>) -> Self {
        Self { queries }
    }

    /// The key of the caller, and what is left of its limits.
    ///
    /// # Errors
    /// None of its own.
    pub async fn key(&self, call: Call, _: GetOwnKeyRequest) -> Result<GetOwnKeyResponse> {
        let key = async { Ok(key(&call.identity)) };
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
            };
            let rows = queries(&self.queries)?.usage(&query).await;
            let (rows, total) = usage_query::rows(&rows.map_err(KeysError::Store)?);
            Ok(GetOwnUsageResponse {
                rows,
                total: Some(total),
            })
        };
        call.run(usage).await
    }
}

fn key(identity: &Identity) -> GetOwnKeyResponse {
    let now = clock::now();
    GetOwnKeyResponse {
        id: identity.id().map(|id| id.to_string()).unwrap_or_default(),
        name: identity.name().to_owned(),
        role: messages::role(identity.role()).into(),
        // Another one is not let in.
        state: messages::state(keys::KeyState::Active).into(),
        expires_at: identity.expires_at().map(timestamp),
        limits: Some(limits::to_message(identity.limits())),
        budgets: identity.budgets(now).iter().map(budget).collect(),
        requests_per_minute: identity.calls_in_a_minute(now).map(rate),
        tokens_per_minute: identity.tokens_in_a_minute(now).map(rate),
    }
}

fn budget(status: &BudgetStatus) -> v1::BudgetStatus {
    let v1::Budget {
        unit,
        amount,
        period,
    } = limits::budget_message(&status.budget);
    v1::BudgetStatus {
        unit,
        period,
        amount,
        spent: number(status.spent),
        reserved: number(status.reserved),
        left: number(status.left),
        renews_at: status.renews_at.map(timestamp),
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
