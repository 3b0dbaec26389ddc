//! Proxies from the environment, for an upstream without TLS. `tls` tests proxies for an upstream
//! with TLS.

use crate::{
    support::{Reply, Scripted, program::run},
    tls::{answering, check},
};

#[tokio::test]
async fn a_proxy_gets_requests_with_their_whole_url_and_its_user_and_password() {
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy"] {
        let proxy = answering().await;
        let mut check = check("http://upstream.invalid:81/deep/v1");
        let checked =
            run(check.env(variable, format!("http://user:p%40ss@{}/", proxy.address))).await;
        assert_eq!(
            checked.code,
            Some(0),
            "{variable}: {}{}",
            checked.out,
            checked.err
        );
        let seen = proxy.only_request();
        let line = "POST http://upstream.invalid:81/deep/v1/chat/completions HTTP/1.1\r\n";
        assert!(seen.head.starts_with(line), "{}", seen.head);
        assert_eq!(seen.header("host"), Some("upstream.invalid:81"));
        // user:p@ss
        assert_eq!(
            seen.header("proxy-authorization"),
            Some("Basic dXNlcjpwQHNz")
        );
        assert_eq!(seen.header("authorization"), Some("Bearer upstream-secret"));
    }
}

#[tokio::test]
async fn no_proxy_names_the_hosts_to_reach_directly() {
    let (upstream, proxy) = (answering().await, Scripted::always(Reply::HangUp).await);
    let proxy_url = format!("http://{}", proxy.address);
    // An address of this machine is never reached through a proxy, with any list.
    for no_proxy in ["", "elsewhere.example"] {
        let mut check = check(&format!("http://{}/v1", upstream.address));
        let checked = run(check
            .env("http_proxy", &proxy_url)
            .env("no_proxy", no_proxy))
        .await;
        assert_eq!(checked.code, Some(0), "{}{}", checked.out, checked.err);
    }
    assert!(proxy.requests().is_empty());
    for (no_proxy, is_proxied) in [
        ("elsewhere.example", true),
        ("upstream.invalid", false),
        (".invalid", false),
        ("*", false),
    ] {
        let before = proxy.requests().len();
        let mut check = check("http://upstream.invalid/v1");
        let checked = run(check
            .env("http_proxy", &proxy_url)
            .env("NO_PROXY", no_proxy))
        .await;
        assert_eq!(checked.code, Some(1), "neither answers: {}", checked.out);
        assert_eq!(
            proxy.requests().len() > before,
            is_proxied,
            "{no_proxy}: {}",
            checked.out
        );
    }
}
