//! gRPC responses: the replies of the services, and errors.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tonic::{Code, Status, metadata::MetadataMap};

use super::content_type::Form;
use crate::{
    error::{Error, ErrorCode},
    json,
    service::Reply,
};

/// The trailer with the status.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The response of a unary method of tonic's servers. Its texts become valid UTF-8, as protobuf
/// needs.
pub(super) fn unary<M: json::Object>(reply: impl Into<Reply<M>>) -> tonic::Response<M> {
    let Reply {
        answer, headers, ..
    } = reply.into();
    let mut response = tonic::Response::new(json::for_protobuf(answer));
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    response
}

/// The trailers of an answer that is complete, or that failed with this error.
pub(super) fn trailers(error: Option<Error>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    match error {
        None => {
            trailers.insert(STATUS, HeaderValue::from_static("0"));
        }
        // Fails only for a message that a header cannot contain. The gateway's messages are valid.
        Some(error) => {
            let _ = Status::from(error).add_header(&mut trailers);
        }
    }
    trailers
}

/// `error` as a response without a body, in the form of gRPC that the request's `headers` name.
pub(crate) fn refuse<B: Default>(error: Error, headers: &HeaderMap) -> http::Response<B> {
    let mut response = Status::from(error).into_http::<B>();
    if let Ok(Some(form)) = Form::in_header(headers, header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, form.media_type());
    }
    response
}

/// The response to a form of gRPC that this gateway does not speak. It has the gRPC status in its
/// headers, and also the HTTP status and the JSON body, because the caller may read only these.
pub(super) fn refuse_form(error: Error) -> Response {
    let status = Status::from(error.clone());
    let mut response: Response = error.into_response();
    // Fails only for a message that a header cannot contain. The gateway's messages are valid.
    let _ = status.add_header(response.headers_mut());
    response
}

/// Adds the gateway's error details to a response whose error tonic made. Leaves all others as they
/// are.
pub(super) fn explain(response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    if !is_unexplained(&status) {
        return response;
    }
    let mut explained: Response = explained(status).into_http();
    let kept = response
        .headers()
        .iter()
        .filter(|(name, _)| !name.as_str().starts_with("grpc-"));
    for (name, value) in kept {
        explained.headers_mut().insert(name, value.clone());
    }
    explained
}

/// `status` with an `ErrorInfo` and a code of the error table, if tonic made it.
pub(super) fn explained(status: Status) -> Status {
    if is_unexplained(&status) {
        Error::new(ErrorCode::InvalidProtobuf, status.message()).into()
    } else {
        status
    }
}

/// Whether tonic made this error: the gateway's own errors have details. Tonic uses `INTERNAL` for
/// a message that it cannot decode.
fn is_unexplained(status: &Status) -> bool {
    status.code() == Code::Internal && status.details().is_empty()
}
