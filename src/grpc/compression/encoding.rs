//! The headers `grpc-encoding` and `grpc-accept-encoding`.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    coding::Coding,
    error::{Error, ErrorCode, Result},
};

pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The codings of requests that the gateway accepts, as `grpc-accept-encoding` names them.
const ACCEPTED: &str = "gzip,deflate,zstd,identity";

/// The longest name of a coding that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 32;

/// The coding of the request's compressed messages, from its header `grpc-encoding`. `None` if the
/// header allows no compressed messages.
///
/// # Errors
/// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod), which is gRPC's `UNIMPLEMENTED`, for a
/// coding that the gateway does not accept.
pub(in crate::grpc) fn of(headers: &HeaderMap) -> Result<Option<Coding>> {
    let Some(name) = headers.get(ENCODING) else {
        return Ok(None);
    };
    let name = String::from_utf8_lossy(name.as_bytes());
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        return Ok(None);
    }
    Coding::named(&name).map(Some).ok_or_else(|| {
        let name: String = name.chars().take(QUOTED_CHARS_MAX).collect();
        let message = format!(
            "grpc-encoding: \"{name}\" is not supported: send gzip, deflate, zstd or identity"
        );
        Error::new(ErrorCode::UnsupportedGrpcEncoding, message)
    })
}

/// Sets the codings of a request that was not one of gRPC: that of its message, and none for the
/// answer.
pub(in crate::grpc) fn set(headers: &mut HeaderMap, coding: Option<Coding>) {
    headers.remove(ACCEPT_ENCODING);
    match coding {
        Some(coding) => {
            headers.insert(ENCODING, HeaderValue::from_static(coding.name()));
        }
        None => {
            headers.remove(ENCODING);
        }
    }
}

/// Removes the header `grpc-encoding`. Tonic must not see it: it gets all messages
/// [decompressed](super::request::DecompressedBody), and knows `identity` only in this spelling.
pub(in crate::grpc) fn remove(headers: &mut HeaderMap) {
    headers.remove(ENCODING);
}

/// Adds the header with the codings that the gateway accepts.
pub(in crate::grpc) fn announce(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
}

/// The coding that the caller accepts for large messages: zstd before gzip, because it is faster and
/// smaller. The header has no weights.
pub(in crate::grpc) fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(','));
    let codings = names.filter_map(|name| Coding::named(name.trim()));
    codings.fold(None, |best, coding| match coding {
        Coding::Deflate => best,
        Coding::Gzip => best.or(Some(coding)),
        Coding::Zstd => Some(coding),
    })
}
