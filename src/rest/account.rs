//! `GET /v1/plan`, `GET /v1/concurrency` and `GET /v1/concurrency/stream`.

use axum::{extract::State, response::Response};
use http::{HeaderMap, request::Parts};

use super::{Inside, answer, sse, stream};
use crate::{error::Error, service::Call};

/// The account's plan.
pub async fn plan(State((services, _)): State<Inside>, head: Parts) -> Response {
    let response = async {
        let reply = services
            .account
            .plan(Call::new(&head.headers, &head.extensions)?)
            .await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// Who uses the account's units right now.
pub async fn concurrency(State((services, _)): State<Inside>, head: Parts) -> Response {
    let response = async {
        let reply = services
            .account
            .concurrency(Call::new(&head.headers, &head.extensions)?)
            .await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// The same, now and whenever the upstream says so anew, as server-sent events.
pub async fn watch(State((services, _)): State<Inside>, head: Parts) -> Response {
    match Call::new(&head.headers, &head.extensions) {
        Ok(call) => stream::respond(
            sse::Events::new(services.account.watch(call)),
            HeaderMap::new(),
        ),
        Err(error) => error.into_response(),
    }
}
