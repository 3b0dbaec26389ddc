//! Refuses requests that a proxy in front of the gateway may interpret differently: requests with
//! two hosts, or with two lengths. Over HTTP/1 the gateway also closes the connection, because the
//! start of the next request is uncertain too (RFC 9112, sections 3.2, 6.1 and 6.3).

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Version, header};

use super::{dialect, host, peer::Peer};
use crate::error::{Error, ErrorCode};

/// The response that refuses `request`. `None` if the request is unambiguous.
pub(super) fn refusal(request: &Request) -> Option<Response> {
    let is_http1 = request.version() < Version::HTTP_2;
    let error = problem(request, is_http1)?;
    let mut response = dialect::refuse(error, request);
    if is_http1 {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Some(response)
}

fn problem(request: &Request, is_http1: bool) -> Option<Error> {
    let framing = |problem| Error::new(ErrorCode::InvalidFraming, problem);
    if is_http1 && Peer::current().is_some_and(|peer| peer.count_request()) {
        let problem = "The request has both Content-Length and Transfer-Encoding: send one of them";
        return Some(framing(problem.to_owned()));
    }
    coding_problem(request.headers())
        .map(framing)
        .or_else(|| Some(Error::new(ErrorCode::InvalidHost, host::problem(request)?)))
}

/// The problem of the transfer codings, if there is one. The gateway accepts only a single
/// `chunked`. Hyper decodes a body as chunked if `chunked` is the last coding, regardless of the
/// codings before it.
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
        "The only supported Transfer-Encoding is chunked, once: compress with Content-Encoding"
            .to_owned(),
    )
}
