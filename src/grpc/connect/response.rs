//! Responses of gRPC as responses of Connect.

use axum::{body::Body, response::Response};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header, response::Parts};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tonic::{Code, Status};

use super::{
    error, json,
    request::{Answer, STREAM_CODING},
    stream::StreamBody,
};
use crate::{
    coding::{COMPRESSED_MIN, Compressed},
    error::{Error, Result},
    grpc::message_scanner::{PREFIX_BYTES, Prefix},
    offload,
};

/// The response of Connect with what `response` says.
pub(super) async fn translate(answer: Answer, response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let status = failure(&head);
    clean(&mut head.headers);
    if answer.is_get {
        // Answers depend on the key of the caller, and some contain names of keys.
        let no_store = HeaderValue::from_static("no-store");
        head.headers.insert(header::CACHE_CONTROL, no_store);
    }
    match (status, answer.form.is_stream) {
        (Some(status), true) => error::ended(status, head.headers, answer.form),
        (Some(status), false) => error::failed(status, head.headers, None),
        (None, true) => {
            let headers = &mut head.headers;
            headers.insert(header::CONTENT_TYPE, answer.form.media_type());
            // A buffering proxy would send the complete stream at its end.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            // Only large messages are compressed, and each says whether it is.
            let coding = answer.accepted.coding(usize::MAX);
            if let Some(coding) = coding {
                let coding = HeaderValue::from_static(coding.name());
                headers.insert(STREAM_CODING, coding);
            }
            let body = StreamBody::new(body, answer.message, coding);
            Response::from_parts(head, Body::new(body))
        }
        (None, false) => unary(answer, head, body).await,
    }
}

/// The error that the head tells.
fn failure(head: &Parts) -> Option<Status> {
    let status = match head.extensions.get::<Status>() {
        Some(status) => Some(status.clone()),
        None => Status::from_header_map(&head.headers),
    };
    status.filter(|status| status.code() != Code::Ok)
}

/// Removes the headers of gRPC.
fn clean(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
    let of_grpc: Vec<HeaderName> = headers
        .keys()
        .filter(|name| error::is_own(name))
        .cloned()
        .collect();
    for name in of_grpc {
        headers.remove(name);
    }
}

async fn unary(answer: Answer, mut head: Parts, body: Body) -> Response {
    let (message, trailers) = match collect(body).await {
        Ok(collected) => collected,
        Err(error) => return error::failed(error.into(), head.headers, None),
    };
    let status = Status::from_header_map(&trailers).unwrap_or_else(|| lost().into());
    append_trailers(&mut head.headers, &trailers);
    if status.code() != Code::Ok {
        return error::failed(status, head.headers, None);
    }
    let message = match (message, answer.message) {
        (Some(message), None) => Ok(message),
        (Some(message), Some(kind)) => to_json(message, kind).await,
        (None, _) => Err(lost()),
    };
    let message = match message {
        Ok(message) => message,
        Err(error) => return error::failed(error.into(), head.headers, None),
    };
    let headers = &mut head.headers;
    headers.insert(header::CONTENT_TYPE, answer.form.media_type());
    let coding = answer.accepted.coding(message.len());
    if coding.is_some() || message.len() as u64 >= COMPRESSED_MIN {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    let compressed = coding.and_then(|coding| {
        let body = Compressed::new(coding, message.clone()).ok()?;
        Some((coding, body))
    });
    let body = match compressed {
        Some((coding, body)) => {
            let coding = HeaderValue::from_static(coding.name());
            headers.insert(header::CONTENT_ENCODING, coding);
            Body::new(body)
        }
        None => message.into(),
    };
    Response::from_parts(head, body)
}

/// The message of a unary answer, and its trailers.
async fn collect(mut body: Body) -> Result<(Option<Bytes>, HeaderMap)> {
    let (mut message, mut trailers) = (None::<Bytes>, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(Error::internal)?.into_data() {
            Ok(data) if data.is_empty() => {}
            // Nearly all messages are one piece.
            Ok(data) => {
                message = Some(match message {
                    None => data,
                    Some(before) => {
                        let mut both = BytesMut::from(before);
                        both.extend_from_slice(&data);
                        both.freeze()
                    }
                });
            }
            Err(frame) => trailers.extend(frame.into_trailers().into_iter().flatten()),
        }
    }
    let Some(mut message) = message else {
        return Ok((None, trailers));
    };
    let prefix = message.first_chunk().copied().map(Prefix::read);
    match prefix {
        Some(Prefix { flag: 0, length }) if length == message.len() - PREFIX_BYTES => {
            message.advance(PREFIX_BYTES);
            Ok((Some(message), trailers))
        }
        _ => Err(Error::internal("an answer is not one message")),
    }
}

async fn to_json(message: Bytes, kind: MessageDescriptor) -> Result<Bytes> {
    offload::run(message.len(), move || {
        let mut out = Vec::new();
        json::append(&kind, message, &mut out).map(|()| out.into())
    })
    .await?
}

/// The trailers of a unary answer are headers with a prefix.
fn append_trailers(headers: &mut HeaderMap, trailers: &HeaderMap) {
    for (name, value) in trailers.iter().filter(|(name, _)| !error::is_own(name)) {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            headers.append(name, value.clone());
        }
    }
}

/// The error for an answer of gRPC without its end.
fn lost() -> Error {
    Error::internal("an answer ended without a status")
}
