//! Where gRPC and the rest of HTTP meet: who speaks it, and what to answer to those who don't.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use tonic::{Code, Status};

use super::{encoding, methods::Methods};
use crate::error::{Error, ErrorCode, Result};

/// The forms of gRPC that are spoken here, each with what a `Content-Type` calls it (in lower case,
/// without `+proto`).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Grpc,
    Web,
    WebText,
}

impl Form {
    /// The content type of answers, by which tonic knows the form of requests too.
    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        })
    }

    /// The form that a media type names; None for one that is no form of gRPC. Letter case means
    /// nothing in it, and neither do parameters: protobuf has no charset.
    ///
    /// # Errors
    /// WrongMediaType for a form of gRPC that is not spoken here.
    fn of(media_type: &str) -> Result<Option<Self>> {
        let name = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let Some(name) = name.strip_prefix("application/grpc") else {
            return Ok(None);
        };
        match name {
            "" | "+proto" => Ok(Some(Self::Grpc)),
            "-web" | "-web+proto" => Ok(Some(Self::Web)),
            "-web-text" | "-web-text+proto" => Ok(Some(Self::WebText)),
            _ if name.starts_with(['+', '-']) => {
                let message = "This form of gRPC is not spoken here: send protobuf as \
                               application/grpc, application/grpc-web or \
                               application/grpc-web-text (each may end in +proto). For JSON there \
                               is POST /v1/chat/completions with application/json";
                Err(Error::new(ErrorCode::UnsupportedMediaType, message))
            }
            _ => Ok(None),
        }
    }
}

/// Whether the caller speaks any form of gRPC, by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    !matches!(Form::of(text(headers, header::CONTENT_TYPE)), Ok(None))
}

/// Lets only gRPC and gRPC-Web, and only methods that there are, through to the gRPC services: the
/// layers behind answer others without a word.
pub(super) async fn only_grpc(
    State(methods): State<Arc<Methods>>,
    mut request: Request,
    next: Next,
) -> Response {
    let form = match Form::of(text(request.headers(), header::CONTENT_TYPE)) {
        Ok(Some(form)) => form,
        Ok(None) => {
            let message = format!(
                "{} is a gRPC method: call it by gRPC or gRPC-Web. For JSON there is POST \
                 /v1/chat/completions",
                request.uri().path()
            );
            return Error::new(ErrorCode::UnsupportedMediaType, message).into_response();
        }
        Err(error) => return unspoken(error),
    };
    if request.method() != Method::POST
        || (form == Form::Grpc && request.version() != Version::HTTP_2)
    {
        let message = "gRPC is POST over HTTP/2; gRPC-Web (application/grpc-web+proto) is POST \
                       over any version";
        return respond(
            Error::new(ErrorCode::NotGrpc, message).into(),
            request.headers(),
        );
    }
    if let Err(error) = methods.find(request.uri().path()) {
        return respond(error.into(), request.headers());
    }
    // The layers behind know each form by one name only.
    let accepted = text(request.headers(), header::ACCEPT)
        .split(',')
        .find_map(|name| Form::of(name).ok().flatten());
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, form.media_type());
    if let Some(accepted) = accepted {
        headers.insert(header::ACCEPT, accepted.media_type());
    }
    let mut response = explain(next.run(request).await);
    encoding::offer(response.headers_mut());
    response
}

/// The answer to a form of gRPC that is not spoken here: HTTP's status and words, since we can't
/// know what the caller reads, and gRPC's beside it.
fn unspoken(error: Error) -> Response {
    let status = Status::from(error.clone());
    let mut response: Response = error.into_response();
    // It is bounded, and of bytes that a header may have.
    let _ = status.add_header(response.headers_mut());
    response
}

/// Gives the errors that tonic makes by itself what all of ours have, where they are a whole
/// answer.
fn explain(response: Response) -> Response {
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

/// The error that tonic made by itself, with what all of ours have: an `ErrorInfo`, and a code by
/// the table.
pub(super) fn explained(status: Status) -> Status {
    if is_unexplained(&status) {
        Error::new(ErrorCode::InvalidProtobuf, status.message().to_owned()).into()
    } else {
        status
    }
}

/// Whether tonic made this error by itself: ours have details. What it calls internal is a message
/// that it can't read.
fn is_unexplained(status: &Status) -> bool {
    status.code() == Code::Internal && status.details().is_empty()
}

/// The answer to a path that no gRPC method has.
pub(super) fn unknown_method(methods: &Methods, request: &Request) -> Response {
    match methods.find(request.uri().path()) {
        Err(error) => respond(error.into(), request.headers()),
        // The router has a route for each.
        Ok(_) => respond(
            Error::internal("a method without a route").into(),
            request.headers(),
        ),
    }
}

/// A refusal in the caller's dialect.
pub(super) fn refuse(error: Error, headers: &HeaderMap) -> Response {
    if is_grpc(headers) {
        respond(error.into(), headers)
    } else {
        error.into_response()
    }
}

/// A gRPC error as a whole answer, without a body.
pub(super) fn respond(status: Status, headers: &HeaderMap) -> Response {
    let mut response: Response = status.into_http();
    if let Ok(Some(form)) = Form::of(text(headers, header::CONTENT_TYPE)) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, form.media_type());
    }
    response
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
