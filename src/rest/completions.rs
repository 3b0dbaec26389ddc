//! `POST /v1/chat/completions` and `POST /v1/completions`: whole, or as server-sent events if the body says
//! `"stream": true`.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{Inside, answer, body, stream};
use crate::{
    error::{Error, Result},
    proto::v1::{CreateChatCompletionRequest, CreateCompletionRequest},
    service::Call,
};

/// Answers a conversation.
pub async fn chat(State((services, limit)): State<Inside>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let mut request: CreateChatCompletionRequest =
            call.refuse(body::read(&call, &head.headers, body, limit).await)?;
        if call.refuse(wants_stream(&mut request.extra))? {
            let place = call.queue_place.clone();
            return Ok(stream::begin(async move { services.chat.stream(call, request).await }, place).await);
        }
        let reply = services.chat.create(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// Continues a text.
pub async fn text(State((services, limit)): State<Inside>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let mut request: CreateCompletionRequest = call.refuse(body::read(&call, &head.headers, body, limit).await)?;
        if call.refuse(wants_stream(&mut request.extra))? {
            let place = call.queue_place.clone();
            return Ok(stream::begin(async move { services.completions.stream(call, request).await }, place).await);
        }
        let reply = services.completions.create(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// Takes the member `stream` out of a request: it is no field of the message, the method says it.
fn wants_stream(extra: &mut BTreeMap<String, String>) -> Result<bool> {
    match extra.remove("stream").as_deref() {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::invalid("stream", "expected true, false or null")),
    }
}
