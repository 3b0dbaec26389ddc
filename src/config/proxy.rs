//! The proxy for connections to the upstream, from the usual environment variables: `HTTPS_PROXY`,
//! `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, as curl reads them.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The proxy for connections to `upstream`, with the user and the password in the proxy's URL.
pub fn proxy(upstream: &Uri) -> Option<Intercept> {
    // The emulator on this machine is reached directly, not through a proxy.
    if is_loopback(upstream) {
        None
    } else {
        Matcher::from_env().intercept(upstream)
    }
}

fn is_loopback(upstream: &Uri) -> bool {
    let host = upstream.host().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_without_a_proxy() {
        for url in [
            "http://localhost:1/v1",
            "http://127.0.0.1/v1",
            "http://127.8.9.1:80",
            "https://[::1]:8/v1",
        ] {
            assert!(is_loopback(&url.parse().unwrap()), "{url}");
        }
        for url in [
            "https://api.featherless.ai/v1",
            "http://10.0.0.1/v1",
            "http://localhost.example",
            "http://[::2]/",
        ] {
            assert!(!is_loopback(&url.parse().unwrap()), "{url}");
        }
    }
}
