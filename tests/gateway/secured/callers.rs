//! Callers' certificates, and the keys that they stand for.

use std::time::{Duration, SystemTime};

use featherwire::{
    config::{CertificateKey, CertificateName},
    error::Kind,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::answering;
use crate::support::{
    Door, Gateway, MODEL, PATIENCE, Scripted,
    certificates::{Authority, Credentials, Files, Pair, dns, uri},
    door::VIA_STREAM,
    prompt,
    rest::status_and_json,
};

const SPIFFE_ID: &str = "spiffe://example.org/app";

/// The keys of the gateway, which has their names.
const ENV_1: &str = "gw_live_1";
const ENV_2: &str = "gw_live_2";

fn stands_for(certificate: CertificateName, key: &str) -> CertificateKey {
    CertificateKey {
        certificate,
        key: key.to_owned(),
    }
}

/// A gateway with the keys `env-1` and `env-2`, and the authorities of its certificate and of
/// callers.
struct Guarded {
    gateway: Gateway,
    authority: Authority,
    callers: Authority,
    files: Files,
}

impl Guarded {
    async fn to(upstream: &Scripted, is_optional: bool) -> Self {
        let (authority, callers) = (Authority::new(), Authority::new());
        let files = Files::of(&authority.server("gateway"));
        let gateway = Gateway::with(upstream.address, |config| {
            config.api_keys = vec![ENV_1.into(), ENV_2.into()];
            config.tls = files.options_with_client_ca(&callers);
            config.tls.tls_client_cert_optional = is_optional;
            config.tls.tls_client_keys = vec![
                stands_for(CertificateName::Uri(SPIFFE_ID.to_owned()), "env-2"),
                stands_for(CertificateName::Dns("app.example".to_owned()), "env-1"),
                stands_for(CertificateName::CommonName("App".to_owned()), "env-1"),
                stands_for(CertificateName::CommonName("nobody".to_owned()), "no key"),
            ];
        })
        .await;
        Self {
            gateway,
            authority,
            callers,
            files,
        }
    }

    /// What a caller with this certificate has.
    fn with(&self, pair: &Pair) -> Credentials {
        self.authority.trusted().with(pair)
    }

    /// The status of a request, and the name of the key that it is for, or the error.
    async fn who(&mut self, caller: Credentials, headers: &[(&str, &str)]) -> (u16, String) {
        self.gateway.credentials = Some(caller);
        let mut get = self.gateway.http().get(self.gateway.url("/v1/key"));
        for (name, value) in headers {
            get = get.header(*name, *value);
        }
        let (status, answer) = status_and_json(get.send().await.unwrap()).await;
        let text = match status {
            200 => &answer["name"],
            _ => &answer["error"]["message"],
        };
        (status, text.as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_certificate_stands_for_a_key_at_every_door() {
    let upstream = answering().await;
    let mut guarded = Guarded::to(&upstream, false).await;
    let certificate = guarded.callers.caller("any", vec![uri(SPIFFE_ID)]);
    guarded.gateway.credentials = Some(guarded.with(&certificate));
    for door in Door::ALL {
        let request = prompt(MODEL, "hi");
        let asked = guarded.gateway.ask_with(door, &request, &VIA_STREAM);
        assert_eq!(asked.await.ok().content, "hi", "{door:?}");
    }
    let unknown = guarded.callers.caller("any", vec![]);
    guarded.gateway.credentials = Some(guarded.with(&unknown));
    for door in Door::ALL {
        let refused = guarded.gateway.ask(door, &prompt(MODEL, "hi")).await;
        let refused = refused.failed(Kind::Unauthenticated, "invalid_api_key");
        assert!(refused.message.contains("stands for none"), "{refused:?}");
    }
    assert_eq!(upstream.requests().len(), Door::ALL.len());
}

#[tokio::test]
async fn a_certificate_is_recognised_by_each_of_its_names_and_by_nothing_similar() {
    let upstream = answering().await;
    let mut guarded = Guarded::to(&upstream, false).await;
    let accepted = [
        ("any", vec![uri(SPIFFE_ID)], "env-2"),
        ("App", vec![], "env-1"),
        (
            "any",
            vec![dns("other.example"), dns("App.Example")],
            "env-1",
        ),
        ("App", vec![dns("app.example"), uri(SPIFFE_ID)], "env-2"),
    ];
    for (common_name, names, key) in accepted {
        let caller = guarded.with(&guarded.callers.caller(common_name, names.clone()));
        let who = guarded.who(caller, &[]).await;
        assert_eq!(who, (200, key.to_owned()), "{common_name} {names:?}");
    }
    let refused = [
        ("app", vec![]),
        ("App ", vec![]),
        ("env-1", vec![uri("spiffe://example.org/app/2")]),
        (SPIFFE_ID, vec![dns("www.app.example"), uri("app.example")]),
    ];
    for (common_name, names) in refused {
        let caller = guarded.with(&guarded.callers.caller(common_name, names.clone()));
        let (status, message) = guarded.who(caller, &[]).await;
        assert_eq!(status, 401, "{common_name} {names:?}: {message}");
    }
    let caller = guarded.with(&guarded.callers.caller("nobody", vec![]));
    let (status, message) = guarded.who(caller, &[]).await;
    assert!(
        status == 401 && message.contains("has no key with the name"),
        "{message}"
    );
}

#[tokio::test]
async fn a_key_that_is_sent_counts_before_the_certificate() {
    let upstream = answering().await;
    let mut guarded = Guarded::to(&upstream, false).await;
    let caller = guarded.with(&guarded.callers.caller("App", vec![]));
    for (header, value, expected) in [
        ("x-api-key", ENV_2, (200, "env-2")),
        ("authorization", "Bearer gw_live_2", (200, "env-2")),
        (
            "authorization",
            "Bearer unknown",
            (401, "Unknown gateway key"),
        ),
        // A browser shows the certificate of its user for each page.
        (
            "origin",
            "https://page.example",
            (401, "A web page needs a gateway key"),
        ),
        (
            "origin",
            "https://localhost",
            (401, "A web page needs a gateway key"),
        ),
    ] {
        let (status, text) = guarded.who(caller.clone(), &[(header, value)]).await;
        assert_eq!(status, expected.0, "{header}: {value}: {text}");
        assert!(text.starts_with(expected.1), "{header}: {value}: {text}");
    }
}

#[tokio::test]
async fn a_caller_must_show_a_certificate_of_the_right_authority() {
    let upstream = answering().await;
    for is_optional in [false, true] {
        let mut guarded = Guarded::to(&upstream, is_optional).await;
        let strange = Authority::new().caller("App", vec![uri(SPIFFE_ID)]);
        // Also not of the authority of the gateway's own certificate.
        let own = guarded.authority.caller("App", vec![]);
        let server = guarded.callers.server("App");
        for wrong in [strange, own, server] {
            let client = guarded.with(&wrong).http();
            let url = format!("https://{}/v1/key", guarded.gateway.address);
            let refused = client.get(url).bearer_auth(ENV_1).send().await;
            assert!(refused.is_err(), "{refused:?}");
        }
        let without = guarded.authority.trusted();
        if is_optional {
            let sent = [("x-api-key", ENV_1)];
            let who = guarded.who(without.clone(), &sent).await;
            assert_eq!(who, (200, "env-1".to_owned()));
            let (status, message) = guarded.who(without, &[]).await;
            assert_eq!(status, 401);
            assert!(!message.contains("certificate"), "{message}");
        } else {
            let url = format!("https://{}/healthz", guarded.gateway.address);
            assert!(without.http().get(url).send().await.is_err());
        }
        let right = guarded.with(&guarded.callers.caller("App", vec![]));
        assert_eq!(guarded.who(right, &[]).await.0, 200, "the gateway goes on");
    }
}

#[tokio::test]
async fn the_holder_of_a_listed_certificate_that_is_no_authority_cannot_sign_others() {
    let upstream = answering().await;
    let mut guarded = Guarded::to(&upstream, false).await;
    let callers = &guarded.callers;
    let listed = [
        callers.caller("lowly", vec![]),
        callers.signer_of_lists("lowly"),
    ];
    for lowly in listed {
        let all = [guarded.callers.pem.as_str(), &lowly.cert].concat();
        guarded.files.write("client-ca.crt", &all);
        let problem = guarded.gateway.certificates.reload_now().unwrap_err();
        assert!(problem.contains("CN=lowly"), "{problem}");
        let forger = Authority::with_the_key_of("lowly", &lowly);
        let forged = guarded.with(&forger.caller("App", vec![])).http();
        let url = format!("https://{}/v1/key", guarded.gateway.address);
        let refused = forged.get(url).send().await;
        assert!(refused.is_err(), "{refused:?}");
        let right = guarded.with(&guarded.callers.caller("App", vec![]));
        assert_eq!(guarded.who(right, &[]).await, (200, "env-1".to_owned()));
    }
}

/// Asks for the caller's key on a connection of HTTP/2, whose `sender` this is.
async fn status(sender: &mut SendRequest<Empty<Bytes>>) -> Option<StatusCode> {
    let request = Request::get("https://localhost/v1/key").body(Empty::new());
    let response = sender.send_request(request.unwrap()).await.ok()?;
    Some(response.status())
}

#[tokio::test]
async fn an_open_connection_loses_its_key_with_the_trust_in_its_certificate() {
    let upstream = answering().await;
    let guarded = Guarded::to(&upstream, false).await;
    let others = Authority::new();
    let open = async |pair: &Pair| {
        let caller = guarded.with(pair);
        let stream = caller.connect(&guarded.gateway, &["h2"]).await.unwrap();
        let stream = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        (sender, tokio::spawn(connection))
    };
    let replace = |authorities: &[&Authority]| {
        let all: Vec<_> = authorities.iter().map(|one| one.pem.as_str()).collect();
        guarded.files.write("client-ca.crt", &all.concat());
        assert_eq!(guarded.gateway.certificates.reload_now(), Ok(()));
    };
    let (mut app, app_closed) = open(&guarded.callers.caller("App", vec![])).await;
    assert_eq!(status(&mut app).await, Some(StatusCode::OK));
    replace(&[&others, &guarded.callers]);
    assert_eq!(
        status(&mut app).await,
        Some(StatusCode::OK),
        "still trusted"
    );
    replace(&[&others]);
    assert_eq!(status(&mut app).await, Some(StatusCode::UNAUTHORIZED));
    let closed = tokio::time::timeout(PATIENCE, app_closed).await;
    assert!(closed.is_ok(), "it is closed");

    let end = SystemTime::now() + Duration::from_secs(3);
    let (mut brief, brief_closed) = open(&others.caller_until("App", end)).await;
    assert_eq!(status(&mut brief).await, Some(StatusCode::OK));
    let closed = tokio::time::timeout(PATIENCE, brief_closed).await;
    assert!(closed.is_ok(), "it is closed");
    assert!(SystemTime::now() > end - Duration::from_secs(1));
    assert_eq!(status(&mut brief).await, None);
}
