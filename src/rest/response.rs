//! REST responses: the replies of the services as JSON, and errors as OpenAI's error body.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    json, offload,
    service::Reply,
};

/// The capacity for a usual answer, so that its JSON needs one allocation.
const BODY_BYTES: usize = 1024;

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        // The inherent method, which works for any body type.
        Self::into_response(self)
    }
}

/// A reply as a JSON response.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if the message cannot be written as JSON.
pub(super) fn json<M: Serialize + prost::Message>(reply: Reply<M>) -> Result<Response> {
    let Reply {
        answer, headers, ..
    } = reply;
    let mut body = Vec::with_capacity(BODY_BYTES);
    offload::run_in_place(answer.encoded_len(), || {
        json::encode_answer(&answer, &mut body)
    })
    .map_err(Error::internal)?;
    Ok(with_body(body.into(), "application/json", headers))
}

/// A response with this body, media type and headers.
pub(super) fn with_body(body: Body, media_type: &'static str, headers: HeaderMap) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
