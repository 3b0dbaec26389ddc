//! Callers that send a request slowly. Each wait has a timeout. The clock is tokio's paused clock,
//! which advances when every task waits.

use std::{future::pending, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval},
};

use crate::support::{Emulator, Gateway, poll};

/// Connects, writes `begin` and then `drip` repeatedly, and reads until the gateway closes the
/// connection. Returns the bytes read and the time.
async fn held_by(gateway: SocketAddr, begin: &[u8], drip: Option<&[u8]>) -> (String, Duration) {
    let began = Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(gateway).await.unwrap().into_split();
    writer.write_all(begin).await.unwrap();
    let drips = async {
        let Some(drip) = drip else {
            return pending().await;
        };
        let mut ticks = interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            // The connection is closed, and the reader sees that too.
            let _ = writer.write_all(drip).await;
        }
    };
    let mut answer = Vec::new();
    let ended = async {
        tokio::select! {
            _ = reader.read_to_end(&mut answer) => {}
            () = drips => {}
        }
    };
    poll::in_small_steps(ended).await;
    (
        String::from_utf8_lossy(&answer).into_owned(),
        began.elapsed(),
    )
}

/// HTTP/2's preface, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_endless_request_head_is_closed() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let seconds = Duration::from_secs;
    for (begin, drip, most) in [
        (&b""[..], None, seconds(31)),
        (b"P", None, seconds(31)),
        (
            b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: ",
            None,
            seconds(31),
        ),
        (
            b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: ",
            Some(&b"a"[..]),
            seconds(31),
        ),
        (PREFACE.get(..10).unwrap(), None, seconds(31)),
        // A client that sends its preface and then nothing, not even the answer to a ping.
        (PREFACE, None, seconds(61)),
    ] {
        let (_, held) = held_by(gateway.address, begin, drip).await;
        assert!(
            held <= most,
            "{:?} was held for {held:?}",
            String::from_utf8_lossy(begin)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_gets_an_error_and_the_connection_is_closed() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let head = |path: &str, media_type: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             {media_type}\r\n{more}content-length: 999\r\n\r\n"
        )
    };
    let chat = "/v1/chat/completions";
    let hurried = "x-request-timeout-ms: 5000\r\n";
    for (drip, more, most, code) in [
        (None, "", 121, "request_timeout"),
        (Some(&b" "[..]), "", 121, "request_timeout"),
        (None, hurried, 6, "deadline_exceeded"),
    ] {
        let begin = head(chat, "application/json", more) + "{";
        let (answer, held) = held_by(gateway.address, begin.as_bytes(), drip).await;
        assert!(held <= Duration::from_secs(most), "held for {held:?}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 504 "), "{answer}");
        let error: Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["code"], code);
    }
    let method = "/featherwire.v1.ChatService/CreateChatCompletion";
    for drip in [None, Some(&b"\0"[..])] {
        let begin = head(method, "application/grpc-web", "") + "\0\0\0\x03\0";
        let (answer, held) = held_by(gateway.address, begin.as_bytes(), drip).await;
        assert!(held <= Duration::from_secs(121), "held for {held:?}");
        assert!(answer.contains("grpc-status: 4"), "{answer}");
    }
}
