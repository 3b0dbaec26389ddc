//! Requests that what stands before us may have read in another way than we do: with two names of
//! the host, or two lengths. Each reading could be right, so none is taken, and over HTTP/1 the
//! connection is closed: where the next request begins is as doubtful (RFC 9112, sections 3.2, 6.1
//! and 6.3).

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderValue, Version, header};

use super::{dialect, host, peer::Peer};
use crate::error::{Error, ErrorCode};

/// Lets only requests through that can be read in one way.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let has_two_lengths =
        is_http1 && Peer::current().is_some_and(|peer| peer.next_has_two_lengths());
    let problem = if has_two_lengths {
        Some(
            "The request has both Content-Length and Transfer-Encoding: send one of them"
                .to_owned(),
        )
    } else {
        coding_problem(request.headers())
    };
    let error = match problem {
        Some(problem) => Error::new(ErrorCode::InvalidFraming, problem),
        None => match host::problem(&request) {
            Some(problem) => Error::new(ErrorCode::InvalidHost, problem),
            None => return next.run(request).await,
        },
    };
    let mut response = dialect::refuse(error, request.headers());
    if is_http1 {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What is wrong with the transfer codings. Chunked, once, is the only one there is here; hyper
/// reads a body as chunked if that is the last one, whatever comes before it.
fn coding_problem(headers: &HeaderMap) -> Option<String> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next()?;
    if codings.next().is_none()
        && first
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    {
        return None;
    }
    Some(
        "The only Transfer-Encoding here is chunked, once: compress by Content-Encoding".to_owned(),
    )
}
