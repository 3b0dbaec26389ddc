//! `POST /v1/chat/completions`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, header};

use super::{answer, body, respond, sse};
use crate::{
    error::{Error, Result},
    proto::v1::CreateChatCompletionRequest,
    service::{Call, Chat},
};

/// Answers a conversation: whole, or as server-sent events if the body says `"stream": true`.
pub async fn complete(State((chat, limit)): State<(Chat, body::Limit)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    respond_to(&chat, limit, &head.headers, body).await.unwrap_or_else(Error::into_response)
}

async fn respond_to(chat: &Chat, limit: body::Limit, headers: &HeaderMap, body: Body) -> Result<Response> {
    let call = Call::new(headers)?;
    let mut request: CreateChatCompletionRequest = body::read(headers, body, limit).await?;
    if wants_stream(&mut request)? {
        let reply = chat.stream(call, request).await?;
        let body = Body::new(sse::Events::new(reply.answer));
        let mut response = respond(body, "text/event-stream", reply.request_id);
        // Proxies that buffer would turn a stream into one late answer.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        return Ok(response);
    }
    let reply = chat.create(call, request).await?;
    Ok(answer(&reply.answer, reply.request_id))
}

/// Takes the member `stream` out of the request: it is no field of the message, the method says it.
fn wants_stream(request: &mut CreateChatCompletionRequest) -> Result<bool> {
    match request.extra.remove("stream").as_deref() {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::invalid("stream", "expected true, false or null")),
    }
}
