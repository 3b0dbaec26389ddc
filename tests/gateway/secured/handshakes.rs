//! Handshakes that do not end, or end badly: they delay no other and hold nothing.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Secured, answering};
use crate::support::{
    Gateway, PATIENCE, advance, certificates::Authority, certificates::Files, poll,
};

/// The beginning of a handshake, without its end.
pub const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7];

async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    let _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("it is closed");
    rest
}

#[tokio::test]
async fn handshakes_that_do_not_end_delay_no_other_and_are_closed() {
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    let mut slow = Vec::new();
    for bytes in [HALF_A_HELLO, &[22], &[]].repeat(10) {
        let mut stream = TcpStream::connect(secured.gateway.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(secured.gateway.get_json("/v1/nothing").await.0, 404);
    // The gateway waits for all of them before the clock advances.
    let tasks = poll::settled_tasks().await;
    advance(Duration::from_secs(9)).await;
    assert_eq!(poll::settled_tasks().await, tasks, "they have ten seconds");
    advance(Duration::from_secs(2)).await;
    for mut stream in slow {
        assert_eq!(closed(&mut stream).await, b"");
    }
    assert_eq!(secured.gateway.get_json("/v1/nothing").await.0, 404);
}

#[tokio::test]
async fn broken_handshakes_are_closed_at_once_and_give_their_connections_back() {
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    assert_eq!(secured.gateway.get_json("/v1/nothing").await.0, 404);
    let idle = poll::settled_tasks().await;
    let garbage = [0xff; 5000];
    let bad_record = [&[22, 3, 3, 0, 5], &[0xee; 5][..]].concat();
    for bytes in [&garbage[..], &bad_record, b"\r\n", b"", HALF_A_HELLO] {
        let mut stream = TcpStream::connect(secured.gateway.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // The gateway closes what is no handshake. The client closes the others.
        stream.shutdown().await.unwrap();
        closed(&mut stream).await;
    }
    poll::until("their tasks end", async || {
        poll::settled_tasks().await <= idle
    })
    .await;
    assert_eq!(secured.gateway.get_json("/v1/nothing").await.0, 404);
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection_without_a_key() {
    const LIMIT: usize = 3;
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let upstream = answering().await;
    let mut gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options();
        config.api_keys = vec!["gw_live_1".into()];
        config.unauthenticated_connections = LIMIT;
    })
    .await;
    gateway.credentials = Some(authority.trusted());
    let mut first = TcpStream::connect(gateway.address).await.unwrap();
    first.write_all(HALF_A_HELLO).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..LIMIT {
        others.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    assert_eq!(closed(&mut first).await, b"", "the longest idle one");
    let get = gateway.http().get(gateway.url("/v1/nothing"));
    let response = get.bearer_auth("gw_live_1").send().await.unwrap();
    assert_eq!(response.status(), 404);
}
