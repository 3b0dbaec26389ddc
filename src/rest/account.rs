//! `GET /v1/plan`, `GET /v1/concurrency` and `GET /v1/concurrency/stream`.

use axum::{
    extract::{Query, State},
    response::Response,
};
use futures_util::StreamExt;
use http::{HeaderMap, Uri};

use super::{response, sse, state::RestState, stream};
use crate::{
    error::{Error, Result},
    json::Chunk,
    proto::v1::GetPlanRequest,
    service::Call,
};

/// The plan of the account, or of the account that the query names.
pub(super) async fn plan(State(state): State<RestState>, call: Call, uri: Uri) -> Result<Response> {
    let request = call.run_part(async { plan_request(&uri) }).await?;
    response::json(state.services.account.plan(call, request).await?)
}

/// The request in a query. Other parameters than `account` mean nothing.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a query that is not `name=value&…`, or that
/// names two accounts.
fn plan_request(uri: &Uri) -> Result<GetPlanRequest> {
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Error::invalid("query", "expected name=value&…").with_source(error))?;
    let mut accounts = query.into_iter().filter(|(name, _)| name == "account");
    let account = accounts.next().map(|(_, account)| account);
    if accounts.next().is_some() {
        return Err(Error::invalid("account", "expected one account"));
    }
    Ok(GetPlanRequest {
        account: account.unwrap_or_default(),
    })
}

/// The requests that use the account's units now.
pub(super) async fn concurrency(State(state): State<RestState>, call: Call) -> Result<Response> {
    response::json(state.services.account.concurrency(call).await?)
}

/// The same, at the start and at each change, as server-sent events.
pub(super) async fn watch(State(state): State<RestState>, call: Call) -> Response {
    let snapshots = state.services.account.watch(call);
    let chunks = snapshots.map(|snapshot| snapshot.map(Chunk::from));
    stream::respond(sse::EventBody::new(chunks), HeaderMap::new())
}
