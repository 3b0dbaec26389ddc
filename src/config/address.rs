//! Parsers for addresses in options: the address to listen on, and the URLs of the upstream and of
//! a gateway.
//!
//! An error does not repeat the address, because it may contain a password.

use std::net::SocketAddr;

use reqwest::Url;

/// The base URL of Featherless's API.
pub(super) const FEATHERLESS: &str = "https://api.featherless.ai/v1";

/// Paths below the base URL that users often copy with it.
const ENDPOINTS: [&str; 5] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/models",
    "/tokenize",
];

/// Parses an IP address and a port. `localhost` is the only host name that is accepted, because it
/// needs no lookup.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    const EXAMPLES: &str =
        "such as 127.0.0.1:8000 (only this machine) or 0.0.0.0:8000 (all networks)";
    let fix = |what: &str| {
        Err(format!(
            "{what}: expected an IP address and a port, {EXAMPLES}"
        ))
    };
    if text.contains("://") {
        return fix("this is a URL");
    }
    if text.parse::<std::net::IpAddr>().is_ok() || text == "localhost" {
        return fix("the port is missing");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let is_port = text.parse::<u16>().is_ok();
        return fix(if is_port {
            "the IP address is missing"
        } else {
            "this is not an address"
        });
    };
    if port.parse::<u16>().is_err() {
        return fix("the port is not a number from 0 to 65535");
    }
    let host = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    match format!("{host}:{port}").parse() {
        Ok(address) => Ok(address),
        Err(_) if host.is_empty() || host == "*" => fix("the IP address is missing"),
        Err(_) => {
            fix("the host is not an IP address (host names other than localhost are not looked up)")
        }
    }
}

/// Parses the base URL of Featherless's API or of a compatible API.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = http_url(text, FEATHERLESS)?;
    let path = url.path().trim_end_matches('/');
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| path.ends_with(*endpoint)) {
        return Err(format!(
            "the URL ends with {endpoint}, which the gateway adds itself: remove it, as in \
             {FEATHERLESS}"
        ));
    }
    let host = url.host_str().unwrap_or_default();
    if host == "featherless.ai" || host.ends_with(".featherless.ai") {
        if url.scheme() != "https" {
            return Err(format!(
                "the API key would be sent unencrypted: use https://, as in {FEATHERLESS}"
            ));
        }
        if path != "/v1" || host == "featherless.ai" || host == "www.featherless.ai" {
            return Err(format!(
                "this is not the address of Featherless's API: use {FEATHERLESS}"
            ));
        }
    }
    Ok(url)
}

/// Parses the URL of a gateway. `localhost:8000` is short for `http://localhost:8000`.
pub(super) fn gateway(text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "http://127.0.0.1:8000";
    let url = http_url(
        &if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        },
        EXAMPLE,
    )?;
    if url.path() != "/" {
        return Err(format!(
            "a gRPC address has no path: remove the path after the port, as in {EXAMPLE}"
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Parses the origin of web pages, or `*` for any origin.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let origin = text.trim().trim_end_matches('/');
    let host = origin.split_once("://").map(|(_, host)| host);
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"/?#@,".contains(&b))
    };
    if matches!(origin, "*" | "null") || host.is_some_and(is_host) {
        return Ok(origin.to_owned());
    }
    let expected = "expected comma-separated origins (scheme, host and port, without a path) such \
                    as https://app.example, or *";
    Err(expected.to_owned())
}

/// Parses an http(s) URL with a host and without a user, a query or a fragment.
fn http_url(text: &str, example: &str) -> Result<Url, String> {
    let fix = |what: &str| Err(format!("{what}, such as {example}"));
    let text = text.trim();
    if !text.contains("://") {
        return fix("the URL does not begin with https:// (or http://): write the complete URL");
    }
    let Ok(url) = Url::parse(text) else {
        return fix("this is not a URL: write a URL");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return fix("the scheme is not https:// (or http://): write the URL of an HTTP API");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fix(
            "the URL has a user or a password, which are not used here: remove the part before the \
             @",
        );
    }
    if url.query().is_some() {
        return fix("the URL has a query: remove the ? and the text after it");
    }
    if url.fragment().is_some() {
        return fix("the URL has a fragment: remove the # and the text after it");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_a_base_url_says_how_to_fix_it_and_does_not_repeat_it() {
        for (text, fix) in [
            ("api.featherless.ai/v1", "https://"),
            ("localhost:9000/v1", "https://"),
            ("", "https://"),
            ("ftp://secret.example/v1", "scheme"),
            ("https//secret.example", "https://"),
            ("https://", "not a URL"),
            ("https://secret:word@x.example/v1", "before the @"),
            ("https://secret@x.example/v1", "before the @"),
            ("https://x.example/v1?key=secret", "remove the ?"),
            ("https://x.example/v1#secret", "remove the #"),
            ("https://api.featherless.ai", FEATHERLESS),
            ("https://api.featherless.ai/", FEATHERLESS),
            ("https://api.featherless.ai/v2", FEATHERLESS),
            ("https://featherless.ai/v1", FEATHERLESS),
            ("http://api.featherless.ai/v1", "unencrypted"),
            ("https://x.example/v1/chat/completions", "remove it"),
        ] {
            let message = base_url(text).unwrap_err();
            assert!(
                message.contains(fix) && message.contains(FEATHERLESS),
                "{text}: {message}"
            );
            assert!(!message.contains("secret"), "{text}: {message}");
        }
        for text in [
            FEATHERLESS,
            "https://api.featherless.ai/v1/",
            "http://127.0.0.1:9",
            " https://x.example/a ",
        ] {
            assert!(base_url(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        for text in [
            "*",
            "https://app.example",
            "http://localhost:3000/",
            "null",
            "tauri://localhost",
        ] {
            assert!(origin(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/page",
            "https://app.example?x",
            "https://a b",
        ] {
            assert!(
                origin(text).unwrap_err().contains("https://app.example"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_address_of_a_gateway_may_omit_the_scheme() {
        for text in [
            "localhost:8000",
            "http://localhost:8000",
            "http://localhost:8000/",
        ] {
            assert_eq!(gateway(text).as_deref(), Ok("http://localhost:8000"));
        }
        assert_eq!(
            gateway("https://gateway.example/").as_deref(),
            Ok("https://gateway.example")
        );
        assert_eq!(gateway("[::1]:8000").as_deref(), Ok("http://[::1]:8000"));
        for (text, fix) in [
            ("http://localhost:8000/v1", "remove the path"),
            ("grpc://localhost:8000", "scheme"),
            ("localhost:99999", "not a URL"),
            ("", "not a URL"),
            ("u:secret@localhost:8000", "before the @"),
            ("localhost:8000?secret", "remove the ?"),
        ] {
            let message = gateway(text).unwrap_err();
            assert!(
                message.contains(fix) && !message.contains("secret"),
                "{text}: {message}"
            );
        }
    }

    #[test]
    fn the_error_for_an_address_to_listen_on_names_the_missing_part() {
        assert_eq!(address("localhost:8000"), Ok(([127, 0, 0, 1], 8000).into()));
        assert!(address("[::1]:8000").is_ok_and(|address| address.is_ipv6()));
        for (text, fix) in [
            ("8000", "the IP address is missing"),
            (":8000", "the IP address is missing"),
            ("*:8000", "the IP address is missing"),
            ("localhost", "the port is missing"),
            ("127.0.0.1", "the port is missing"),
            ("::1", "the port is missing"),
            ("127.0.0.1:http", "the port is not a number"),
            ("127.0.0.1:80000", "the port is not a number"),
            ("gateway.example:8000", "not looked up"),
            ("http://127.0.0.1:8000", "this is a URL"),
            ("nowhere", "not an address"),
        ] {
            let message = address(text).unwrap_err();
            assert!(
                message.starts_with(fix) || message.contains(fix),
                "{text}: {message}"
            );
            assert!(message.contains("127.0.0.1:8000"), "{text}: {message}");
        }
    }
}
