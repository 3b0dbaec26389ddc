//! Failed handshakes in the metrics and in the log.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    answering,
    doors::{CURVES, SIGNATURES, old_hello},
    handshakes::HALF_A_HELLO,
};
use crate::support::{
    Gateway, advance,
    certificates::{Authority, Credentials, Files},
    poll,
    program::{featherwire, started, terminate},
};

const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A record whose content is no message.
const BAD_RECORD: &[u8] = &[22, 3, 3, 0, 5, 0xee, 0xee, 0xee, 0xee, 0xee];

/// Sends these bytes, and waits until the gateway has closed the connection.
async fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// The failures by their reason, as `/metrics` tells them. A client with these `credentials` asks.
async fn failures(credentials: &Credentials, address: SocketAddr) -> BTreeMap<String, f64> {
    let url = format!("https://{address}/metrics");
    let metrics = credentials.http().get(url).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counts = metrics.lines().filter_map(|line| {
        let labels = "featherwire_tls_handshake_failures_total{listener=\"main\",reason=\"";
        line.strip_prefix(labels)?.split_once("\"} ")
    });
    counts
        .map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn failed_handshakes_are_counted_by_their_reason() {
    let (authority, callers, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::of(&authority.server("gateway"));
    let upstream = answering().await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options_with_client_ca(&callers);
    })
    .await;
    let address = gateway.address;
    let app = callers.caller("app", vec![]);
    let good = authority.trusted().with(&app);
    let mut expected = failures(&good, address).await;
    assert_eq!(expected.len(), 8);
    assert!(expected.values().all(|count| *count == 0.0), "{expected:?}");
    let strange = authority.trusted().with(&others.caller("app", vec![]));
    let (without, distrusts) = (authority.trusted(), others.trusted().with(&app));
    for (reason, credentials, bytes) in [
        ("plain_text", None, PLAIN),
        ("plain_text", None, b"\r\n"),
        ("closed", None, HALF_A_HELLO),
        ("other", None, BAD_RECORD),
        ("version", None, &old_hello([3, 2], SIGNATURES)),
        ("version", None, &old_hello([3, 2], CURVES)),
        ("version", None, &old_hello([3, 1], CURVES)),
        // TLS 1.2, without what it needs.
        ("other", None, &old_hello([3, 3], CURVES)),
        ("no_certificate", Some(without), b""),
        ("untrusted_certificate", Some(strange), b""),
        ("refused_by_caller", Some(distrusts), b""),
        // Nothing has begun.
        ("", None, b""),
    ] {
        match credentials {
            Some(credentials) => {
                let url = format!("https://{address}/healthz");
                assert!(credentials.http().get(url).send().await.is_err());
            }
            None => send(address, bytes).await,
        }
        if let Some(count) = expected.get_mut(reason) {
            *count += 1.0;
        }
        poll::until(&format!("one more for the reason {reason:?}"), async || {
            failures(&good, address).await == expected
        })
        .await;
    }
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(HALF_A_HELLO).await.unwrap();
    // The gateway waits for it before the clock advances.
    poll::settled_tasks().await;
    advance(Duration::from_secs(11)).await;
    let _ = slow.read_to_end(&mut Vec::new()).await;
    *expected.get_mut("timeout").unwrap() += 1.0;
    assert_eq!(failures(&good, address).await, expected);
}

#[tokio::test]
async fn the_log_has_one_line_for_failed_handshakes_in_a_minute() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    command
        .env("FEATHERWIRE_TLS_CERT", files.path("tls.crt"))
        .env("FEATHERWIRE_TLS_KEY", files.path("tls.key"));
    let (child, url, mut log) = started(command).await;
    let address = url.strip_prefix("https://").unwrap().parse().unwrap();
    for _ in 0..5 {
        send(address, PLAIN).await;
    }
    let counts = failures(&authority.trusted(), address).await;
    assert_eq!(counts["plain_text"], 5.0);
    // A drain writes the last lines.
    terminate(child.id().unwrap()).await;
    let mut lines = Vec::new();
    while let Some(line) = log.recv().await {
        lines.push(line);
    }
    lines.retain(|line| line.contains("TLS handshakes have failed"));
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    for part in ["WARN", "main", "plain_text", "127.0.0.1:", "failed=1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
