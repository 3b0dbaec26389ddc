//! Refusals before the body of the request has arrived. The client can read them, even while it is
//! still sending.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use bytesize::ByteSize;
use featherwire::error::Kind;

use crate::support::{
    Door, Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted, prompt,
    scripted::{chunk, whole},
};

/// The number of attempts for each refusal, because a reset happens only sometimes.
const TIMES: usize = 100;

/// More than the socket buffers of both sides hold.
const BODY_BYTES: usize = 2_500_000;

const CHAT: &str = "/v1/chat/completions";
const GRPC: &str = "/featherwire.v1.ChatService/CreateChatCompletion";

fn head(path: &str, headers: &[&str]) -> String {
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    format!("POST {path} HTTP/1.1\r\n{headers}\r\n")
}

/// Writes a complete request before reading anything, as many blocking clients do, and returns the
/// complete answer.
fn write_then_read(gateway: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(gateway)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    for piece in body.chunks(64 * 1024) {
        stream.write_all(piece)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends the request repeatedly, each time on a new connection, and checks the status and the code
/// of every answer.
async fn is_refused(
    gateway: &Gateway,
    what: &str,
    head: String,
    body: Vec<u8>,
    status: &str,
    code: &str,
) {
    let address = gateway.address;
    let asking = tokio::task::spawn_blocking(move || {
        (0..TIMES)
            .map(|_| write_then_read(address, &head, &body))
            .collect::<Vec<_>>()
    });
    for (time, answer) in asking.await.unwrap().into_iter().enumerate() {
        let answer = answer.unwrap_or_else(|error| panic!("{what}, time {time}: {error}"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{what}, time {time}: {answer}"
        );
        assert!(answer.contains(code), "{what}, time {time}: {answer}");
    }
}

const HOST: &str = "host: localhost";
const JSON: &str = "content-type: application/json";
const WEB: &str = "content-type: application/grpc-web+proto";

fn length() -> String {
    format!("content-length: {BODY_BYTES}")
}

#[tokio::test]
async fn a_client_that_writes_its_whole_body_first_reads_every_refusal() {
    let upstream = Scripted::always(Reply::Silence).await;
    let open = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    let locked = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let length = length();
    let timeout = "x-request-timeout-ms: soon";
    let cases: Vec<(&Gateway, &str, Vec<&str>, &str, &str)> = vec![
        (
            &locked,
            CHAT,
            vec![HOST, JSON, &length],
            "401",
            "invalid_api_key",
        ),
        (
            &locked,
            GRPC,
            vec![HOST, WEB, &length],
            "200",
            "grpc-status: 16",
        ),
        (
            &open,
            "/v1/nonsense",
            vec![HOST, JSON, &length],
            "404",
            "unknown_path",
        ),
        (
            &open,
            "/v1/responses",
            vec![HOST, JSON, &length],
            "404",
            "unknown_path",
        ),
        (
            &open,
            "/v1/models",
            vec![HOST, JSON, &length],
            "405",
            "method_not_allowed",
        ),
        (
            &open,
            "/docs",
            vec![HOST, JSON, &length],
            "405",
            "method_not_allowed",
        ),
        (
            &open,
            CHAT,
            vec![HOST, "content-type: text/plain", &length],
            "415",
            "unsupported_media_type",
        ),
        (
            &open,
            GRPC,
            vec![HOST, "content-type: text/plain", &length],
            "415",
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            &open,
            GRPC,
            vec![HOST, JSON, &length],
            "429",
            "REQUEST_TOO_LARGE",
        ),
        (
            &locked,
            GRPC,
            vec![HOST, JSON, &length],
            "401",
            "INVALID_API_KEY",
        ),
        (
            &open,
            CHAT,
            vec![HOST, JSON, &length],
            "413",
            "request_too_large",
        ),
        (
            &open,
            GRPC,
            vec![HOST, WEB, &length],
            "200",
            "grpc-status: 8",
        ),
        (
            &open,
            CHAT,
            vec![HOST, JSON, timeout, &length],
            "400",
            "invalid_value",
        ),
        (
            &open,
            CHAT,
            vec!["host: evil.example", JSON, &length],
            "403",
            "unknown_host",
        ),
        (
            &open,
            CHAT,
            vec![HOST, HOST, JSON, &length],
            "400",
            "invalid_host",
        ),
        (&open, CHAT, vec![JSON, &length], "400", "invalid_host"),
    ];
    // The length of its first message is over the limit.
    let body = [&b"\0\xff\xff\xff\xff"[..], &vec![b'x'; BODY_BYTES - 5]].concat();
    for (gateway, path, headers, status, code) in cases {
        is_refused(
            gateway,
            &format!("{path} {headers:?}"),
            head(path, &headers),
            body.clone(),
            status,
            code,
        )
        .await;
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_client_without_a_content_length_reads_a_refusal_after_its_whole_body() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    let piece = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
    let body = [
        piece.repeat(BODY_BYTES / piece.len()),
        b"0\r\n\r\n".to_vec(),
    ]
    .concat();
    for (path, media_type, status, code) in [
        (CHAT, JSON, "413", "request_too_large"),
        (
            CHAT,
            "content-type: text/plain",
            "415",
            "unsupported_media_type",
        ),
        ("/v1/nonsense", JSON, "404", "unknown_path"),
    ] {
        let head = head(path, &[HOST, media_type, "transfer-encoding: chunked"]);
        is_refused(&gateway, path, head, body.clone(), status, code).await;
    }
}

#[tokio::test]
async fn a_request_head_that_hyper_refuses_gets_an_answer_too() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let large = format!("x-large: {}", "x".repeat(100 * 1024));
    let head = head(CHAT, &[HOST, JSON, &large, &length()]);
    is_refused(
        &gateway,
        "a large head",
        head,
        vec![b'x'; BODY_BYTES],
        "431",
        "",
    )
    .await;
    let head = head_with_bad_length();
    is_refused(
        &gateway,
        "a bad length",
        head,
        vec![b'x'; BODY_BYTES],
        "400",
        "",
    )
    .await;
}

fn head_with_bad_length() -> String {
    head(CHAT, &[HOST, JSON, "content-length: many"])
}

#[tokio::test]
async fn a_client_reads_a_refusal_after_its_whole_body_while_the_gateway_drains() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let gateway = Gateway::with(upstream.address, |config| config.drain_timeout = PATIENCE).await;
    let running = gateway.open_stream(MODEL).await;
    gateway.drain().await;
    let head = head(CHAT, &[HOST, JSON, &length()]);
    is_refused(
        &gateway,
        "draining",
        head,
        vec![b'x'; BODY_BYTES],
        "503",
        "draining",
    )
    .await;
    drop(running);
}

#[tokio::test]
async fn a_connection_is_kept_when_the_refused_body_is_short() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let address = gateway.address;
    let answers = tokio::task::spawn_blocking(move || {
        let body = prompt(MODEL, &"x".repeat(20_000)).to_string();
        let length = format!("content-length: {}", body.len());
        let mut stream = TcpStream::connect(address).unwrap();
        let keep = "connection: keep-alive";
        for (path, media_type, last) in [
            ("/v1/nonsense", JSON, keep),
            (CHAT, "content-type: text/plain", keep),
            (CHAT, JSON, "connection: close"),
        ] {
            let head = head(path, &[HOST, media_type, &length, last]);
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .unwrap();
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    });
    let answers = answers.await.unwrap();
    let statuses: Vec<_> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.split_at(3).0)
        .collect();
    assert_eq!(statuses, ["404", "415", "200"], "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_refused_request_with_expect_continue_gets_no_100() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let open = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    let locked = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let ask = async |gateway: &Gateway, path: &str, headers: &[&str], body: String| {
        let head = head(path, &[headers, &["expect: 100-continue"]].concat());
        let address = gateway.address;
        let asking = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = vec![0; 12];
            stream.read_exact(&mut answer).unwrap();
            if answer == b"HTTP/1.1 100" {
                stream.write_all(body.as_bytes()).unwrap();
            }
            stream.read_to_end(&mut answer).unwrap();
            String::from_utf8(answer).unwrap()
        });
        asking.await.unwrap()
    };
    let body = prompt(MODEL, "hi").to_string();
    for (gateway, path, headers, status) in [
        (
            &locked,
            CHAT,
            vec![HOST, JSON, "content-length: 100"],
            "401",
        ),
        (
            &open,
            CHAT,
            vec![HOST, JSON, "content-length: 100000"],
            "413",
        ),
        (
            &open,
            CHAT,
            vec![HOST, "content-type: text/plain", "content-length: 100"],
            "415",
        ),
        (
            &open,
            "/v1/nonsense",
            vec![HOST, JSON, "content-length: 100"],
            "404",
        ),
        (
            &open,
            "/v1/models",
            vec![HOST, JSON, "content-length: 100"],
            "405",
        ),
    ] {
        let answer = ask(gateway, path, &headers, body.clone()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {answer}"
        );
        assert!(
            answer.contains("connection: close"),
            "what follows might be the body: {answer}"
        );
    }
    let length = format!("content-length: {}", body.len());
    let answer = ask(
        &open,
        CHAT,
        &[HOST, JSON, &length, "connection: close"],
        body,
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
        "{answer}"
    );
}

#[tokio::test]
async fn over_http2_a_large_body_is_refused_as_well() {
    let emulator = Emulator::start().await;
    let locked = Gateway::with(emulator.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let small = Gateway::with(emulator.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    let request = prompt(MODEL, &"x".repeat(BODY_BYTES));
    for _ in 0..TIMES / 12 {
        for door in [Door::GrpcUnary, Door::GrpcStream] {
            locked
                .ask(door, &request)
                .await
                .failed(Kind::Unauthenticated, "invalid_api_key");
            small
                .ask(door, &request)
                .await
                .failed(Kind::TooLarge, "request_too_large");
        }
    }
}

#[tokio::test]
async fn over_http2_a_large_rest_body_is_refused_as_well() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let upstream = Scripted::always(Reply::Silence).await;
    let locked = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let body = bytes::Bytes::from(vec![b'x'; BODY_BYTES]);
    let stream = tokio::net::TcpStream::connect(locked.address)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for (path, status) in [(CHAT, 401), ("/v1/nonsense", 404), ("/docs", 405)].repeat(TIMES / 3) {
        let post = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/json");
        let answer = sender
            .send_request(post.body(Full::new(body.clone())).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert!(
            !answer
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
    }
    assert!(!connection.is_finished(), "one connection serves them all");
}
