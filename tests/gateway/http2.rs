//! Attacks on the gateway by one HTTP/2 connection, with frames written by hand (RFC 9113).

use featherwire::proto::v1::chat_service_client::ChatServiceClient;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::support::{
    Door, Emulator, Gateway, MODEL,
    door::message,
    frames::{GOAWAY, PREFACE, SETTINGS, frame, next_frame},
    prompt,
};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A header block: indexed pseudo-headers of the static table, and the path as a literal (RFC
/// 7541).
fn head(method: u8, path: &str) -> Vec<u8> {
    const SCHEME_HTTP: u8 = 0x86;
    const PATH_LITERAL: u8 = 0x04;
    const AUTHORITY_LITERAL: u8 = 0x01;
    let literal = |name: u8, value: &str| {
        [
            &[name, u8::try_from(value.len()).unwrap()],
            value.as_bytes(),
        ]
        .concat()
    };
    [
        vec![method, SCHEME_HTTP],
        literal(PATH_LITERAL, path),
        literal(AUTHORITY_LITERAL, "localhost"),
    ]
    .concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// The frames of a caller that opens `calls` calls and cancels each one immediately, in one write.
fn cancelled_calls(calls: u32) -> Vec<u8> {
    let head = head(POST, "/featherwire.v1.ChatService/CreateChatCompletion");
    let call = |number| {
        let stream = 2 * number + 1;
        [
            frame(HEADERS, END_HEADERS, stream, &head),
            frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()),
        ]
        .concat()
    };
    (0..calls).flat_map(call).collect()
}

async fn connect(gateway: &Gateway) -> (OwnedReadHalf, OwnedWriteHalf) {
    let (reader, mut writer) = TcpStream::connect(gateway.address)
        .await
        .unwrap()
        .into_split();
    writer.write_all(PREFACE).await.unwrap();
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    (reader, writer)
}

/// The next frame of this kind, on this stream.
async fn next(reader: &mut OwnedReadHalf, kind: u8, stream: u32) -> Vec<u8> {
    loop {
        let (seen_kind, seen, payload) = next_frame(reader).await;
        assert!(
            kind == GOAWAY || seen_kind != GOAWAY,
            "the connection is ended: {payload:?}"
        );
        if (seen_kind, seen) == (kind, stream) {
            return payload;
        }
    }
}

#[tokio::test]
async fn a_caller_that_cancels_all_its_open_streams_can_go_on() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (mut reader, mut writer) = connect(&gateway).await;
    const CALLS: u32 = 1000;
    writer.write_all(&cancelled_calls(CALLS)).await.unwrap();
    let last = 2 * CALLS + 1;
    writer
        .write_all(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            last,
            &head(GET, "/healthz"),
        ))
        .await
        .unwrap();
    const STATUS_200: u8 = 0x88;
    assert_eq!(next(&mut reader, HEADERS, last).await[0], STATUS_200);
}

#[tokio::test]
async fn a_flood_of_resets_closes_only_the_connection_of_that_caller() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (mut reader, mut writer) = connect(&gateway).await;
    let flood = tokio::spawn(async move { writer.write_all(&cancelled_calls(50_000)).await });
    let goaway = next(&mut reader, GOAWAY, 0).await;
    assert_eq!(goaway[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
    drop(reader);
    // The rest of the bytes need not arrive.
    let _ = flood.await.unwrap();
    for door in Door::ALL {
        gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
    }
}

#[tokio::test]
async fn a_request_head_over_the_limit_fails_the_call_and_not_the_connection() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = ChatServiceClient::new(gateway.channel().await);
    let mut request = tonic::Request::new(message(&prompt(MODEL, "hi")));
    request
        .metadata_mut()
        .insert("x-large", "x".repeat(100 * 1024).parse().unwrap());
    client.create_chat_completion(request).await.unwrap_err();
    client
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap();
}
