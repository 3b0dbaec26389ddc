//! `GET /v1/plan`, `GET /v1/concurrency` and `GET /v1/concurrency/stream`.

use axum::{extract::State, response::Response};
use http::HeaderMap;

use super::{Inside, answer, stream};
use crate::{error::Error, service::Call};

/// The account's plan.
pub async fn plan(State((services, _)): State<Inside>, headers: HeaderMap) -> Response {
    let response = async {
        let reply = services.account.plan(Call::new(&headers)?).await?;
        Ok(answer(&reply.answer, reply.request_id))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// Who uses the account's units right now.
pub async fn concurrency(State((services, _)): State<Inside>, headers: HeaderMap) -> Response {
    let response = async {
        let reply = services.account.concurrency(Call::new(&headers)?).await?;
        Ok(answer(&reply.answer, reply.request_id))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// The same, now and whenever the upstream says so anew, as server-sent events.
pub async fn watch(State((services, _)): State<Inside>, headers: HeaderMap) -> Response {
    match Call::new(&headers) {
        Ok(call) => stream(services.account.watch(call), None),
        Err(error) => error.into_response(),
    }
}
