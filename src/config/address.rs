//! Addresses as they are written in options: where to listen, and where the upstream is.

use std::net::SocketAddr;

/// An IP address and a port; `localhost` is the one name that needs no lookup.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8000 or 0.0.0.0:8000".to_owned())
}

pub(super) fn base_url(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password".to_owned());
    }
    match url.scheme() {
        "http" | "https" if url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err("not an http(s) address without query".to_owned()),
    }
}
