//! New certificates while the gateway runs.

use std::time::{Duration, SystemTime};

use featherwire::{
    emulator::EmulatorConfig,
    server::{Outcome, tls::CertificateStatus},
};
use futures_util::future::join_all;
use reqwest::Response;
use rustls::pki_types::CertificateDer;

use super::{Secured, answering};
use crate::support::{
    Emulator, Gateway, MODEL,
    certificates::{Authority, DAY_SECONDS, Files},
    poll, prompt,
    rest::{Events, http},
};

/// The certificate that a new connection gets.
async fn certificate(secured: &Secured) -> CertificateDer<'static> {
    let caller = secured.authority.trusted();
    let stream = caller.connect(&secured.gateway, &["h2"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn subjects(status: &CertificateStatus) -> Vec<String> {
    let certificates = status.certificates().into_iter();
    certificates.map(|one| one.subject).collect()
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_cuts_no_stream() {
    const STREAMS: usize = 200;
    let emulator = Emulator::with(EmulatorConfig {
        tokens_per_second: 20.0,
        units: None,
        ..EmulatorConfig::default()
    })
    .await;
    let secured = Secured::to(emulator.address).await;
    let gateway = &secured.gateway;
    let mut request = prompt(MODEL, "hi");
    (request["stream"], request["min_tokens"]) = (true.into(), 100.into());
    request["max_tokens"] = 100.into();
    let open = (0..STREAMS).map(|_| gateway.post("/v1/chat/completions", &request));
    let streams = join_all(open).await;
    let before = certificate(&secured).await;
    let watching = tokio::spawn(gateway.certificates.clone().watch(Duration::from_millis(1)));

    secured
        .files
        .write_pair(&secured.authority.server("second"));
    let after = poll::find("the new certificate is in use", async || {
        Some(certificate(&secured).await).filter(|now| *now != before)
    })
    .await;
    // It is told after the first handshakes have it.
    let status = gateway.certificates.status();
    poll::until("the status tells it", async || {
        subjects(status) == ["CN=second"]
    })
    .await;
    let feed = format!("http://{}/account/concurrency/stream", emulator.address);
    let mut feed = Events::of(http().get(feed).bearer_auth("any")).await;
    let snapshot = feed.next().await.unwrap();
    assert_eq!(snapshot["request_count"], STREAMS, "all are running");
    for text in join_all(streams.into_iter().map(Response::text)).await {
        let text = text.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    assert_eq!(certificate(&secured).await, after);
    watching.abort();
    emulator.wait_until_idle().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_symbolic_link_is_a_new_certificate() {
    use std::{fs, os::unix::fs::symlink};

    // As the kubelet writes the files of a secret: `tls.crt` is a link to `..data/tls.crt`, and
    // `..data` is a link that is replaced.
    let authority = Authority::new();
    let volume = Files::of(&authority.server("first"));
    let version = |name: &str, common_name: &str| {
        let folder = volume.path(name);
        fs::create_dir(&folder).unwrap();
        let pair = authority.server(common_name);
        fs::write(folder.join("tls.crt"), pair.cert).unwrap();
        fs::write(folder.join("tls.key"), pair.key).unwrap();
        folder
    };
    symlink(version("..1", "first"), volume.path("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        fs::remove_file(volume.path(file)).unwrap();
        symlink(volume.path("..data").join(file), volume.path(file)).unwrap();
    }
    let upstream = answering().await;
    let gateway = Gateway::with(upstream.address, |config| config.tls = volume.options()).await;
    let status = gateway.certificates.status();
    assert_eq!(subjects(status), ["CN=first"]);
    let watching = tokio::spawn(gateway.certificates.clone().watch(Duration::from_millis(1)));
    symlink(version("..2", "second"), volume.path("..next")).unwrap();
    fs::rename(volume.path("..next"), volume.path("..data")).unwrap();
    poll::until("the new certificate is in use", async || {
        subjects(status) == ["CN=second"]
    })
    .await;
    assert_eq!(status.reload_failures()["main"], 0);
    watching.abort();
}

#[tokio::test]
async fn a_broken_pair_keeps_the_previous_one_and_counts_once() {
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    let (gateway, files) = (&secured.gateway, &secured.files);
    let (reload, before) = (&gateway.certificates, certificate(&secured).await);
    let second = secured.authority.server("second");
    let (cut, _) = second.cert.split_at(100);
    let broken = [
        // Only the certificate is new yet.
        (second.cert.as_str(), None, "does not belong to"),
        ("", None, "there is no certificate"),
        (cut, None, "no -----END line"),
        (&second.cert, Some("x"), "there is no private key"),
    ];
    for (failures, (cert, key, problem)) in (1..).zip(broken) {
        files.write("tls.crt", cert);
        if let Some(key) = key {
            files.write("tls.key", key);
        }
        for _ in 0..3 {
            let message = reload.reload_now().unwrap_err();
            assert!(message.contains(problem), "{message}");
            assert_eq!(
                reload.status().reload_failures()["main"],
                failures,
                "{problem}"
            );
        }
        assert_eq!(certificate(&secured).await, before, "{problem}");
        assert_eq!(subjects(reload.status()), ["CN=first"]);
    }
    std::fs::remove_file(files.path("tls.key")).unwrap();
    let message = reload.reload_now().unwrap_err();
    assert!(message.contains("does not exist"), "{message}");
    files.write_pair(&second);
    assert_eq!(reload.reload_now(), Ok(()));
    assert_eq!(subjects(reload.status()), ["CN=second"]);
    assert_ne!(certificate(&secured).await, before);
    assert_eq!(reload.status().reload_failures()["main"], 5);
    assert_eq!(reload.reload_now(), Ok(()), "nothing is new");
    let metrics = gateway.http().get(gateway.url("/metrics"));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let name = format!("featherwire_certificate_{name}{{listener=\"main\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("{name}: {metrics}"))
    };
    assert_eq!(value("reload_failures_total"), "5.0");
    let end = value("expiry_timestamp_seconds").parse::<f64>().unwrap();
    let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let days = (end - days.unwrap().as_secs_f64()) / DAY_SECONDS as f64;
    assert!((990.0..1000.0).contains(&days), "{days}");
    assert_eq!(secured.gateway.stop().await, Outcome::Drained);
}

#[tokio::test]
async fn a_new_authority_of_callers_counts_for_new_connections() {
    let (authority, callers, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority.server("gateway"));
    let upstream = answering().await;
    let mut gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options_with_client_ca(&callers);
    })
    .await;
    let caller = authority.trusted().with(&callers.caller("a", vec![]));
    let other = authority.trusted().with(&others.caller("b", vec![]));
    gateway.credentials = Some(caller.clone());
    let kept = gateway.http();
    let get = async |client: &reqwest::Client| client.get(gateway.url("/healthz")).send().await;
    assert_eq!(get(&kept).await.unwrap().status(), 200);
    assert!(get(&other.http()).await.is_err());
    files.write("client-ca.crt", &others.pem);
    assert_eq!(gateway.certificates.reload_now(), Ok(()));
    assert_eq!(get(&other.http()).await.unwrap().status(), 200);
    assert!(get(&caller.http()).await.is_err(), "a new connection");
    assert_eq!(get(&kept).await.unwrap().status(), 200, "a running one");
}

#[tokio::test]
async fn an_expired_certificate_is_used_until_there_is_another() {
    let authority = Authority::new();
    let day = Duration::from_secs(DAY_SECONDS);
    let files = Files::of(&authority.server_until("old", day));
    let upstream = answering().await;
    let gateway = Gateway::with(upstream.address, |config| config.tls = files.options()).await;
    let error = authority.trusted().connect(&gateway, &["h2"]).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("expired"), "the client decides: {error}");
    files.write_pair(&authority.server("new"));
    assert_eq!(gateway.certificates.reload_now(), Ok(()));
    assert!(authority.trusted().connect(&gateway, &["h2"]).await.is_ok());
}

#[tokio::test]
async fn files_that_one_look_has_found_are_used_when_the_next_one_finds_the_same() {
    let (authority, callers, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority.server("gateway"));
    let upstream = answering().await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options_with_client_ca(&callers);
    })
    .await;
    let reload = &gateway.certificates;
    let accepts = async |authorities: &Authority| {
        let caller = authority.trusted().with(&authorities.caller("a", vec![]));
        let url = format!("https://{}/healthz", gateway.address);
        caller.http().get(url).send().await.is_ok()
    };
    let both = [others.pem.as_str(), &callers.pem].concat();
    // A list of which only the first certificate is written, and a part of the next one.
    files.write("client-ca.crt", &others.pem);
    assert!(reload.look());
    files.write("client-ca.crt", both.split_at(both.len() - 100).0);
    assert!(reload.look());
    assert!(accepts(&callers).await && !accepts(&others).await);
    files.write("client-ca.crt", &both);
    assert!(reload.look());
    assert_eq!(reload.status().reload_failures()["main"], 0);
    assert!(!reload.look(), "it is settled");
    assert!(accepts(&callers).await && accepts(&others).await);
    files.write("client-ca.crt", "");
    assert!(reload.look());
    assert!(!reload.look());
    assert!(!reload.look());
    assert_eq!(reload.status().reload_failures()["main"], 1);
    assert!(accepts(&callers).await && accepts(&others).await);
}
