//! Compressed gRPC messages: how requests are, and which answers are.
//!
//! Tonic could do it. But it decompresses a message at once on a worker of the runtime, and calls
//! what is wrong by its own names; and REST needs the same codings anyway. Behind this, no message
//! is compressed.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    coding::Coding,
    error::{Error, ErrorCode, Result},
};

pub(crate) mod request;
pub(crate) mod response;

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The codings of requests that are understood, as `grpc-accept-encoding` names them.
const UNDERSTOOD: &str = "gzip,deflate,zstd,identity";

/// The longest name of a coding that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 32;

/// The coding of a request's compressed messages, by its header `grpc-encoding`, if there can be
/// any.
///
/// # Errors
/// WrongMethod (gRPC has UNIMPLEMENTED for it), for a coding that is not understood here.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Coding>> {
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
            "grpc-encoding: \"{name}\" is not understood here: send gzip, deflate, zstd or \
             identity"
        );
        Error::new(ErrorCode::UnsupportedGrpcEncoding, message)
    })
}

/// Takes the header away that does not hold any more once the request's body is [`Unpacked`].
pub(super) fn forget(headers: &mut HeaderMap) {
    headers.remove(ENCODING);
}

/// Says which codings are understood.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(UNDERSTOOD));
}

/// Whether the caller takes messages that are compressed by gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|name| Coding::named(name.trim()) == Some(Coding::Gzip))
}
