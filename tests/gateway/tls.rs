//! An upstream with TLS: the certificates that the gateway trusts, and proxies. The certificates
//! are from the tests' own authority and valid for a hundred years.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::support::{
    Reply, Scripted,
    program::{Ended, featherwire, run},
    scripted::{chunk, finish},
};

const TUNNEL: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/gateway/tls")
        .join(name)
}

/// A TLS server in front of a scripted upstream, reached by its address or through a tunnel by its
/// name.
struct Terminator {
    address: SocketAddr,
    /// The requests it received as a proxy.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Terminator {
    async fn before(upstream: &Scripted, is_proxy: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, upstream) = (listener.local_addr().unwrap(), upstream.address);
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let acceptor = acceptor();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    if is_proxy {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            head.push(stream.read_u8().await?);
                        }
                        seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                        stream.write_all(TUNNEL.as_bytes()).await?;
                    }
                    let mut stream = acceptor.accept(stream).await?;
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                    copy_bidirectional(&mut stream, &mut TcpStream::connect(upstream).await?).await
                });
            }
        });
        Self { address, heads }
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(file("upstream.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("upstream.key")).unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into());
    let config = config
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

pub async fn answering() -> Scripted {
    Scripted::always(Reply::Events(vec![
        chunk("hi"),
        finish(),
        "[DONE]".to_owned(),
    ]))
    .await
}

/// Runs `check` for the upstream at this base URL.
pub fn check(base_url: &str) -> Command {
    let mut command = featherwire(&["check", "--retries", "0"]);
    command
        .env("FEATHERLESS_BASE_URL", base_url)
        .env("FEATHERLESS_API_KEY", "upstream-secret");
    command
}

async fn checked(base_url: &str, authority: &str) -> Ended {
    run(check(base_url).env("SSL_CERT_FILE", file(authority))).await
}

#[tokio::test]
async fn an_upstream_is_trusted_by_the_machines_certificates_and_by_no_others() {
    let upstream = answering().await;
    let terminator = Terminator::before(&upstream, false).await;
    let base_url = format!("https://{}/v1", terminator.address);
    let trusted = checked(&base_url, "authority.pem").await;
    assert_eq!(trusted.code, Some(0), "{}{}", trusted.out, trusted.err);
    let seen = upstream.only_request();
    assert!(
        seen.head
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert_eq!(
        seen.header("host"),
        Some(terminator.address.to_string().as_str())
    );

    let strange = checked(&base_url, "stranger.pem").await;
    assert_eq!(strange.code, Some(1), "{}", strange.out);
    assert!(
        strange.out.contains("upstream_unreachable") && strange.out.contains("certificate"),
        "{}",
        strange.out
    );
    assert!(strange.out.contains("SSL_CERT_FILE"), "{}", strange.out);
    let misnamed = checked(&base_url.replace("127.0.0.1", "localhost"), "authority.pem").await;
    assert_eq!(misnamed.code, Some(1), "{}", misnamed.out);
    assert!(
        misnamed.out.contains("not valid for name")
            && misnamed.out.contains("correct FEATHERLESS_BASE_URL"),
        "{}",
        misnamed.out
    );
    assert_eq!(upstream.requests().len(), 1, "the key was sent only once");
}

#[tokio::test]
async fn a_proxy_tunnels_to_an_upstream_with_tls_and_sees_neither_key_nor_prompt() {
    let upstream = answering().await;
    let proxy = Terminator::before(&upstream, true).await;
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let mut check = check("https://upstream.invalid/v1");
        check.env("SSL_CERT_FILE", file("authority.pem"));
        let checked =
            run(check.env(variable, format!("http://user:p%40ss@{}", proxy.address))).await;
        assert_eq!(
            checked.code,
            Some(0),
            "{variable}: {}{}",
            checked.out,
            checked.err
        );
    }
    let heads = std::mem::take(&mut *proxy.heads.lock().unwrap());
    assert_eq!(heads.len(), 3);
    for head in heads {
        assert!(
            head.starts_with("CONNECT upstream.invalid:443 HTTP/1.1\r\n"),
            "{head}"
        );
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("proxy-authorization: basic dxnlcjpwqhnz\r\n"),
            "user:p@ss in Base64: {head}"
        );
        assert!(
            head.contains("user-agent: featherwire/") && !head.contains("upstream-secret"),
            "{head}"
        );
    }
    for seen in upstream.requests() {
        assert!(
            seen.head
                .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
            "{}",
            seen.head
        );
        assert_eq!(seen.header("host"), Some("upstream.invalid"));
        assert_eq!(
            seen.header("proxy-authorization"),
            None,
            "that was for the proxy"
        );
    }
}

#[tokio::test]
async fn a_tunnel_that_a_proxy_refuses_is_reported_as_a_failed_connection() {
    let refusal = Reply::Raw("407 Proxy Authentication Required".to_owned(), Vec::new());
    let proxy = Scripted::always(refusal).await;
    let mut check = check("https://upstream.invalid:8443/v1");
    check
        .env("SSL_CERT_FILE", file("authority.pem"))
        .env("https_proxy", format!("http://{}", proxy.address));
    let checked = run(&mut check).await;
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    assert!(
        checked.out.contains("upstream_unreachable") && checked.out.contains("proxies"),
        "{}",
        checked.out
    );
    assert!(
        checked.out.contains("proxy authorization required"),
        "{}",
        checked.out
    );
    assert!(
        proxy
            .only_request()
            .head
            .starts_with("CONNECT upstream.invalid:8443 HTTP/1.1\r\n")
    );
}
