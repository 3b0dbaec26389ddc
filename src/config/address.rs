//! Addresses as they are written in options: where to listen, and where the upstream and a gateway
//! are.
//!
//! What is wrong with one is told without repeating it: there may be a password in it.

use std::net::SocketAddr;

use reqwest::Url;

/// Where Featherless's API is.
pub(super) const FEATHERLESS: &str = "https://api.featherless.ai/v1";

/// Paths below the base URL that are often copied with it.
const ENDPOINTS: [&str; 5] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/models",
    "/tokenize",
];

/// An IP address and a port; `localhost` is the one name that needs no lookup.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    const EXAMPLES: &str =
        "such as 127.0.0.1:8000 (this machine alone) or 0.0.0.0:8000 (every network)";
    let mend = |what: &str| {
        Err(format!(
            "{what}: expected an IP address and a port, {EXAMPLES}"
        ))
    };
    if text.contains("://") {
        return mend("this is a URL");
    }
    if text.parse::<std::net::IpAddr>().is_ok() || text == "localhost" {
        return mend("the port is missing");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let is_port = text.parse::<u16>().is_ok();
        return mend(if is_port {
            "the IP address is missing"
        } else {
            "this is no address"
        });
    };
    if port.parse::<u16>().is_err() {
        return mend("the port is not a number from 0 to 65535");
    }
    let host = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    match format!("{host}:{port}").parse() {
        Ok(address) => Ok(address),
        Err(_) if host.is_empty() || host == "*" => mend("the IP address is missing"),
        Err(_) => {
            mend("the host is not an IP address, and names other than localhost are not looked up")
        }
    }
}

/// The base URL of an API like Featherless's.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = http_url(text, FEATHERLESS)?;
    let path = url.path().trim_end_matches('/');
    if let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| path.ends_with(*endpoint)) {
        return Err(format!(
            "it ends with {endpoint}, which is added to it: leave that out, such as {FEATHERLESS}"
        ));
    }
    let host = url.host_str().unwrap_or_default();
    if host == "featherless.ai" || host.ends_with(".featherless.ai") {
        if url.scheme() != "https" {
            return Err(format!(
                "the API key would travel unencrypted: write https://, such as {FEATHERLESS}"
            ));
        }
        if path != "/v1" || host == "featherless.ai" || host == "www.featherless.ai" {
            return Err(format!(
                "Featherless's API is not there, but at {FEATHERLESS}"
            ));
        }
    }
    Ok(url)
}

/// The URL of a gateway; `localhost:8000` is short for `http://localhost:8000`.
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
    if url.scheme() != "http" {
        return Err(format!(
            "this command speaks plain HTTP to the gateway: write http://, such as {EXAMPLE}"
        ));
    }
    if url.path() != "/" {
        return Err(format!(
            "gRPC needs the address alone: leave out the path after the port, such as {EXAMPLE}"
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The origin of web pages, or `*` for any.
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
    let expected = "expected origins (scheme, host and port, without a path) with commas between, \
                    or *, such as https://app.example";
    Err(expected.to_owned())
}

/// An http(s) URL with a host and without a user, a query or a fragment.
fn http_url(text: &str, example: &str) -> Result<Url, String> {
    let mend = |what: &str| Err(format!("{what}, such as {example}"));
    let text = text.trim();
    if !text.contains("://") {
        return mend("it doesn't begin with https:// (or http://): write the whole URL");
    }
    let Ok(url) = Url::parse(text) else {
        return mend("this is not a URL: write one");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return mend(
            "it begins with another scheme than https:// (or http://): write the URL of an HTTP \
             API",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return mend(
            "it holds a user or a password, which have no meaning here: leave out what stands \
             before the @",
        );
    }
    if url.query().is_some() {
        return mend("it has a query: leave out the ? and what follows");
    }
    if url.fragment().is_some() {
        return mend("it has a fragment: leave out the # and what follows");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_base_url_is_told_with_the_mend_and_without_repeating_it() {
        for (text, mend) in [
            ("api.featherless.ai/v1", "https://"),
            ("localhost:9000/v1", "https://"),
            ("", "https://"),
            ("ftp://secret.example/v1", "scheme"),
            ("https//secret.example", "https://"),
            ("https://", "not a URL"),
            ("https://secret:word@x.example/v1", "before the @"),
            ("https://secret@x.example/v1", "before the @"),
            ("https://x.example/v1?key=secret", "leave out the ?"),
            ("https://x.example/v1#secret", "leave out the #"),
            ("https://api.featherless.ai", FEATHERLESS),
            ("https://api.featherless.ai/", FEATHERLESS),
            ("https://api.featherless.ai/v2", FEATHERLESS),
            ("https://featherless.ai/v1", FEATHERLESS),
            ("http://api.featherless.ai/v1", "unencrypted"),
            ("https://x.example/v1/chat/completions", "leave that out"),
        ] {
            let told = base_url(text).unwrap_err();
            assert!(
                told.contains(mend) && told.contains(FEATHERLESS),
                "{text}: {told}"
            );
            assert!(!told.contains("secret"), "{text}: {told}");
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
    fn a_gateway_is_found_with_and_without_a_scheme() {
        for text in [
            "localhost:8000",
            "http://localhost:8000",
            "http://localhost:8000/",
        ] {
            assert_eq!(gateway(text).as_deref(), Ok("http://localhost:8000"));
        }
        assert_eq!(gateway("[::1]:8000").as_deref(), Ok("http://[::1]:8000"));
        for (text, mend) in [
            ("https://localhost:8000", "plain HTTP"),
            ("http://localhost:8000/v1", "leave out the path"),
            ("grpc://localhost:8000", "scheme"),
            ("localhost:99999", "not a URL"),
            ("", "not a URL"),
            ("u:secret@localhost:8000", "before the @"),
            ("localhost:8000?secret", "leave out the ?"),
        ] {
            let told = gateway(text).unwrap_err();
            assert!(
                told.contains(mend) && !told.contains("secret"),
                "{text}: {told}"
            );
        }
    }

    #[test]
    fn an_address_to_listen_on_is_told_what_it_lacks() {
        assert_eq!(address("localhost:8000"), Ok(([127, 0, 0, 1], 8000).into()));
        assert!(address("[::1]:8000").is_ok_and(|address| address.is_ipv6()));
        for (text, mend) in [
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
            ("nowhere", "no address"),
        ] {
            let told = address(text).unwrap_err();
            assert!(
                told.starts_with(mend) || told.contains(mend),
                "{text}: {told}"
            );
            assert!(told.contains("127.0.0.1:8000"), "{text}: {told}");
        }
    }
}
