//! The content types of gRPC.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::{Error, ErrorCode, Result};

/// A form of gRPC that this gateway speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web in binary.
    Web,
    /// gRPC-Web in base64.
    WebText,
}

impl Form {
    /// The content type of responses in this form. Tonic expects the same content type in requests.
    pub(super) fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        })
    }

    /// The form that `media_type` names; `None` if it is not a content type of gRPC. Letter case is
    /// ignored, and so are parameters: protobuf has no charset.
    ///
    /// # Errors
    /// [`Kind::WrongMediaType`](crate::error::Kind::WrongMediaType) for a form of gRPC that this
    /// gateway does not speak.
    pub(super) fn of(media_type: &str) -> Result<Option<Self>> {
        // What nearly all clients send.
        if media_type == "application/grpc" {
            return Ok(Some(Self::Grpc));
        }
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
                let message = "This form of gRPC is not supported: send protobuf as \
                               application/grpc, application/grpc-web or \
                               application/grpc-web-text (each may end in +proto). For JSON there \
                               is POST /v1/chat/completions with application/json";
                Err(Error::new(ErrorCode::UnsupportedMediaType, message))
            }
            _ => Ok(None),
        }
    }

    /// The form that the header `name` gives. Same as [`of`](Self::of) otherwise.
    pub(super) fn in_header(headers: &HeaderMap, name: HeaderName) -> Result<Option<Self>> {
        Self::of(text(headers, name))
    }

    /// The first form in the header `accept` that this gateway speaks.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        text(headers, header::ACCEPT)
            .split(',')
            .find_map(|name| Self::of(name).ok().flatten())
    }
}

/// Whether the request's content type is one of gRPC, including forms that this gateway does not
/// speak.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    !matches!(Form::in_header(headers, header::CONTENT_TYPE), Ok(None))
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What a caller with the JSON of the REST door calls instead of the method with this path.
pub(super) fn rest_path(path: &str) -> &'static str {
    match path.trim_start_matches('/').split('/').next() {
        Some("featherwire.admin.v1.KeyService") => "/admin/v1/keys",
        Some("featherwire.admin.v1.UsageService") => "/admin/v1/usage and /admin/v1/calls",
        Some("featherwire.v1.CallerService") => "GET /v1/key and GET /v1/usage",
        _ => "POST /v1/chat/completions",
    }
}
