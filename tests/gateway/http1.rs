//! HTTP/1.1 callers that send more bytes than one request: the gateway notices if they disconnect,
//! and loses no byte if they stay connected.

use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Door, Gateway, MODEL, PATIENCE, Reply, Scripted,
    door::{frame, message},
    prompt,
    scripted::{chunk, whole},
};

const CHAT: &str = "/v1/chat/completions";

fn post(path: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ncontent-length: \
         {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn rest(text: &str, stream: bool) -> Vec<u8> {
    let mut request = prompt(MODEL, text);
    request["stream"] = json!(stream);
    post(CHAT, "application/json", request.to_string().as_bytes())
}

fn grpc_web() -> Vec<u8> {
    let body = frame(&message(&prompt(MODEL, "hi")).encode_to_vec());
    post(
        "/featherwire.v1.ChatService/CreateChatCompletion",
        "application/grpc-web+proto",
        &body,
    )
}

/// More than any buffer holds, and every part of it is different.
fn long_text() -> String {
    (0..600_000).map(|number| format!("{number:07} ")).collect()
}

/// The next answer on this connection, which must not be a stream.
async fn read_answer(caller: &mut TcpStream, buffer: &mut Vec<u8>) -> Value {
    let read = async {
        loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
                assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .unwrap();
                let whole = end + 4 + length.parse::<usize>().unwrap();
                if buffer.len() >= whole {
                    let body = serde_json::from_slice(&buffer[end + 4..whole]).unwrap();
                    buffer.drain(..whole);
                    return body;
                }
            }
            assert!(
                caller.read_buf(buffer).await.unwrap() > 0,
                "the gateway closed"
            );
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("an answer")
}

fn content(answer: &Value) -> &Value {
    &answer["choices"][0]["message"]["content"]
}

#[tokio::test]
async fn the_upstream_call_is_closed_when_a_caller_that_sent_more_bytes_disconnects() {
    let streamed = Reply::EventsThenSilence(vec![chunk("a")]);
    for (name, request, reply) in [
        ("unary REST", rest("hi", false), Reply::Silence),
        ("streamed REST", rest("hi", true), streamed),
        ("gRPC-Web", grpc_web(), Reply::Silence),
    ] {
        for (what, more) in [
            ("an empty line", b"\r\n".to_vec()),
            ("its next request", request.clone()),
        ] {
            for is_reset in [false, true] {
                let upstream = Scripted::always(reply.clone()).await;
                let gateway = Gateway::to(upstream.address).await;
                let mut caller = TcpStream::connect(gateway.address).await.unwrap();
                caller
                    .write_all(&[&request[..], &more].concat())
                    .await
                    .unwrap();
                upstream.wait_until_stalled().await;
                if is_reset {
                    socket2::SockRef::from(&caller)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                }
                drop(caller);
                eprintln!(
                    "{name}, {what} after it, and then a {}",
                    if is_reset { "reset" } else { "close" }
                );
                upstream.wait_until_closed().await;
                assert_eq!(
                    upstream.requests().len(),
                    1,
                    "a request without a waiting caller is not sent"
                );
                upstream.set_reply(Reply::Json(200, whole("b")));
                assert_eq!(
                    gateway
                        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
                        .await
                        .ok()
                        .content,
                    "b"
                );
            }
        }
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order_and_arrive_whole() {
    let texts = ["first".to_owned(), long_text(), "third".to_owned()];
    let replies = ["a", "b", "c"];
    let upstream = Scripted::first(replies.map(|content| Reply::Json(200, whole(content)))).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    let requests = texts.each_ref().map(|text| rest(text, false));
    caller
        .write_all(&requests.join(&b"\r\n"[..]))
        .await
        .unwrap();
    let mut buffer = Vec::new();
    for reply in replies {
        assert_eq!(content(&read_answer(&mut caller, &mut buffer).await), reply);
    }
    assert!(buffer.is_empty(), "three answers and no more");
    for (seen, text) in upstream.requests().iter().zip(&texts) {
        assert!(
            seen.json()["messages"][0]["content"] == **text,
            "{} bytes of prompt arrived otherwise",
            text.len()
        );
    }
    assert_eq!(upstream.requests().len(), texts.len());
}

#[tokio::test]
async fn a_large_body_in_pieces_arrives_whole() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut caller = TcpStream::connect(gateway.address).await.unwrap();
    // The caller can send the next piece only after the gateway has read some of the previous ones.
    socket2::SockRef::from(&caller)
        .set_send_buffer_size(10_007)
        .unwrap();
    let text = long_text();
    for piece in rest(&text, false).chunks(10_007) {
        caller.write_all(piece).await.unwrap();
    }
    assert_eq!(
        content(&read_answer(&mut caller, &mut Vec::new()).await),
        "a"
    );
    assert!(
        upstream.only_request().json()["messages"][0]["content"] == *text,
        "the prompt arrived otherwise"
    );
}
