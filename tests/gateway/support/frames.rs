//! HTTP/2 frames (RFC 9113), for tests that no client library supports.

use tokio::io::{AsyncRead, AsyncReadExt};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The kind, the stream and the payload of the next frame.
pub async fn next_frame(reader: &mut (impl AsyncRead + Unpin)) -> (u8, u32, Vec<u8>) {
    let read = async {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await.unwrap();
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        reader.read_exact(&mut payload).await.unwrap();
        (
            head[3],
            u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        )
    };
    tokio::time::timeout(super::clock::PATIENCE, read)
        .await
        .expect("a frame")
}
