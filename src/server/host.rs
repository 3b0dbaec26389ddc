//! The host of a request.

use std::net::IpAddr;

use axum::extract::Request;
use http::{HeaderMap, Uri, Version, header, uri::Authority};

/// The problem of a request's host, if there is one. A request must have exactly one host, because
/// a proxy in front of the gateway may read another one of several. HTTP/2 has the host in
/// `:authority`, and HTTP/1.0 needs none.
pub(super) fn problem(request: &Request) -> Option<String> {
    let names = request.headers().get_all(header::HOST).iter().count();
    let is_needed = request.version() == Version::HTTP_11;
    let is_wrong = names > 1 || (names == 0 && is_needed);
    is_wrong.then(|| format!("The request has {names} Host headers: send exactly one"))
}

/// The host of a request, with its port.
pub(super) fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    uri.authority().map(Authority::as_str).or(host)
}

/// Whether `host`, without a port, is a name of this machine. Case is ignored, and a dot at the end
/// is allowed.
pub(super) fn is_this_machine(host: &str) -> bool {
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || ip.is_ok_and(is_loopback)
}
