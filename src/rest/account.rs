//! `GET /v1/plan`, `GET /v1/concurrency` and `GET /v1/concurrency/stream`.

use axum::{extract::State, response::Response};
use futures_util::StreamExt;
use http::HeaderMap;

use super::{response, sse, state::RestState, stream};
use crate::{error::Result, json::Chunk, service::Call};

/// The account's plan.
pub(super) async fn plan(State(state): State<RestState>, call: Call) -> Result<Response> {
    response::json(state.services.account.plan(call).await?)
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
