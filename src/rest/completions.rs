//! `POST /v1/chat/completions` and `POST /v1/completions`: whole, or as server-sent events if the
//! body says `"stream": true`. The same paths with `:stream` after them always answer with events.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{Inside, answer, request, stream};
use crate::{
    error::{Error, Result},
    proto::v1::{CreateChatCompletionRequest, CreateCompletionRequest},
    service::Call,
};

/// Answers a conversation.
pub async fn chat(state: State<Inside>, request: Request) -> Response {
    answer_chat(state, request, false).await
}

/// Answers a conversation piece by piece.
pub async fn stream_chat(state: State<Inside>, request: Request) -> Response {
    answer_chat(state, request, true).await
}

/// Continues a text.
pub async fn text(state: State<Inside>, request: Request) -> Response {
    continue_text(state, request, false).await
}

/// Continues a text piece by piece.
pub async fn stream_text(state: State<Inside>, request: Request) -> Response {
    continue_text(state, request, true).await
}

async fn answer_chat(
    State((services, limit)): State<Inside>,
    request: Request,
    by_path: bool,
) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let mut request: CreateChatCompletionRequest =
            call.refuse(request::read(&call, &head.headers, body, limit).await)?;
        if call.refuse(wants_stream(&mut request.extra, by_path))? {
            let position = call.queue_position.clone();
            return Ok(stream::begin(
                async move { services.chat.stream(call, request).await },
                position,
            )
            .await);
        }
        let reply = services.chat.create(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

async fn continue_text(
    State((services, limit)): State<Inside>,
    request: Request,
    by_path: bool,
) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let mut request: CreateCompletionRequest =
            call.refuse(request::read(&call, &head.headers, body, limit).await)?;
        if call.refuse(wants_stream(&mut request.extra, by_path))? {
            let position = call.queue_position.clone();
            return Ok(stream::begin(
                async move { services.completions.stream(call, request).await },
                position,
            )
            .await);
        }
        let reply = services.completions.create(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// Whether a stream is asked for, by the path or by the member `stream`, which is taken out of the
/// request: it is no field of the message, the method says it.
fn wants_stream(extra: &mut BTreeMap<String, String>, by_path: bool) -> Result<bool> {
    match extra.remove("stream").as_deref() {
        None | Some("null") => Ok(by_path),
        Some("true") => Ok(true),
        Some("false") if by_path => Err(Error::invalid(
            "stream",
            "this path always streams: for a whole answer take the one without `:stream`",
        )),
        Some("false") => Ok(false),
        Some(_) => Err(Error::invalid("stream", "expected true, false or null")),
    }
}
