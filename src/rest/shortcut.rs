//! The methods that models answer, without axum's router. They are nearly all requests, and the
//! router would clone and box a service for each of its layers. The router has them too, for the
//! errors of their paths.

use axum::{
    body::Body,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, future::BoxFuture};
use http::Method;

use super::{
    embeddings,
    request::{Json, StreamableJson},
    state::RestState,
    unary_or_stream::{self, JsonService},
};
use crate::service::{Chat, Completions};

/// A method that a model answers.
pub(crate) enum Shortcut {
    Chat,
    Completions,
    Embeddings,
}

impl Shortcut {
    /// The method of `request`; `None` for all others, which the router knows.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        if request.method() != Method::POST {
            return None;
        }
        match request.uri().path() {
            "/v1/chat/completions" | "/v1/chat/completions:stream" => Some(Self::Chat),
            "/v1/completions" | "/v1/completions:stream" => Some(Self::Completions),
            "/v1/embeddings" => Some(Self::Embeddings),
            _ => None,
        }
    }

    /// Answers `request` as the router does.
    pub(crate) fn answer(self, state: RestState, request: Request) -> BoxFuture<'static, Response> {
        match self {
            Self::Chat => create::<Chat>(state, request).boxed(),
            Self::Completions => create::<Completions>(state, request).boxed(),
            Self::Embeddings => create_embeddings(state, request).boxed(),
        }
    }
}

async fn create<S: JsonService>(state: RestState, request: Request) -> Response {
    match StreamableJson::from_request(request, &state).await {
        Ok(request) => unary_or_stream::create::<S>(State(state), request)
            .await
            .into_response(),
        Err(error) => error.into_response(),
    }
}

async fn create_embeddings(state: RestState, request: Request<Body>) -> Response {
    match Json::from_request(request, &state).await {
        Ok(request) => embeddings::create(State(state), request)
            .await
            .into_response(),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tests::{FUTURE_BYTES_MAX, services};

    #[tokio::test]
    async fn the_futures_of_this_door_are_small() {
        let state = crate::rest::state(services(), 1);
        let answer = |path: &str| {
            let request = Request::post(path).body(Body::empty()).unwrap();
            let shortcut = Shortcut::of(&request).unwrap();
            size_of_val(&*shortcut.answer(state.clone(), request))
        };
        let sizes = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"].map(answer);
        assert!(
            sizes.iter().all(|size| *size <= FUTURE_BYTES_MAX),
            "{sizes:?}"
        );
    }
}
