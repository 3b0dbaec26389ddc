//! The methods that models answer: one message in, and one message or a stream of messages out.
//! They are nearly all calls, and go without tonic's servers, which box the request's body, its
//! decoder, the method's future and the answer's body for each call.

use std::future::Future;

use axum::{BoxError, body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body::Body as HttpBody;
use prost::Message;
use tonic::Status;

use super::{
    content_type::Form, message, stream::StreamBody, surrogates::TextChunk, unary::UnaryBody,
};
use crate::{
    error::Result,
    json,
    proto::bounds::HasLayout,
    service::{AnswerChunk, Call, Reply, ResponseStream},
};

/// Receives the message of `request`, lets a service `answer` it, and makes the response of the
/// reply by `respond`: [`unary`] or [`streamed`].
pub(super) async fn exchange<B, M, T, F>(
    request: Request<B>,
    answer: impl FnOnce(Call, Box<M>) -> F,
    respond: impl FnOnce(Reply<T>) -> Result<Response>,
) -> Response
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
    M: Message + Default + HasLayout,
    F: Future<Output = Result<Reply<T>>>,
{
    let (call, message) = match message::receive(request).await {
        Ok(received) => received,
        Err(status) => return status.into_http(),
    };
    let reply = answer(call, message).await;
    reply
        .and_then(respond)
        .unwrap_or_else(|error| Status::from(error).into_http())
}

/// The response with a complete answer. Its texts become valid UTF-8, as protobuf needs.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) for a message of 4 GiB.
pub(super) fn unary<M>(reply: Reply<M>) -> Result<Response>
where
    M: Message + json::Object,
{
    let body = UnaryBody::new(&json::for_protobuf(reply.answer))?;
    Ok(with_body(Body::new(body), reply.headers))
}

/// The response with a streamed answer.
///
/// # Errors
/// None.
pub(super) fn streamed<M>(reply: Reply<ResponseStream<M>>) -> Result<Response>
where
    M: AnswerChunk + TextChunk + Message + Send + 'static,
{
    let body = StreamBody::new(reply.answer, reply.late_headers);
    Ok(with_body(Body::new(body), reply.headers))
}

fn with_body(body: Body, headers: HeaderMap) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, Form::Grpc.media_type());
    response
}
