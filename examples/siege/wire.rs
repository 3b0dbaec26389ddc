//! Bytes that client libraries do not send: HTTP/2 frames (RFC 9113) and HTTP/1.1 request heads.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{FLOODS, KEY, Target};

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a gRPC call with a key: indexed fields of the static table, and literals
/// (RFC 7541).
pub fn call_head() -> Vec<u8> {
    const POST: u8 = 0x83;
    const SCHEME_HTTP: u8 = 0x86;
    const PATH: u8 = 0x04;
    const AUTHORITY: u8 = 0x01;
    let literal = |name: u8, value: &str| {
        [
            &[name, u8::try_from(value.len()).unwrap()],
            value.as_bytes(),
        ]
        .concat()
    };
    let named = |name: &str, value: &str| {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [vec![0], text(name), text(value)].concat()
    };
    [
        vec![POST, SCHEME_HTTP],
        literal(PATH, "/featherwire.v1.ChatService/CreateChatCompletion"),
        literal(AUTHORITY, "localhost"),
        named("content-type", "application/grpc"),
        named("x-api-key", KEY),
    ]
    .concat()
}

/// Writes waves of bytes to HTTP/2 connections until the time is over. If the gateway closes a
/// connection, a new connection follows.
pub async fn flood(target: &Target, wave: fn(u32) -> Vec<u8>) -> Result<(), String> {
    let floods = (0..FLOODS).map(|_| async {
        while Instant::now() < target.until {
            let Ok(stream) = TcpStream::connect(target.address).await else {
                continue;
            };
            let (mut reader, mut writer) = stream.into_split();
            // The received bytes are not used, but a client that does not read is soon blocked.
            let reading = tokio::spawn(async move { io::copy(&mut reader, &mut io::sink()).await });
            let writing = async {
                writer
                    .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                    .await?;
                writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
                for number in 0.. {
                    writer.write_all(&wave(number)).await?;
                }
                io::Result::Ok(())
            };
            let _ = timeout_at(target.until, writing).await;
            reading.abort();
        }
    });
    futures_util::future::join_all(floods).await;
    Ok(())
}

/// The head of a chat over HTTP/1.1 with a key and a body of `body_bytes` bytes.
pub fn chat_head(body_bytes: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: \
         {KEY}\r\ncontent-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"
    )
}

/// Opens connections, writes these bytes to each, and then one byte at intervals, until the time is
/// over.
pub async fn hold(
    target: &Target,
    connections: usize,
    opening: &[u8],
    every: Option<Duration>,
) -> Result<(), String> {
    let holds = (0..connections).map(|_| async {
        let Ok(mut stream) = TcpStream::connect(target.address).await else {
            return;
        };
        let holding = async {
            stream.write_all(opening).await?;
            match every {
                None => std::future::pending().await,
                Some(every) => loop {
                    tokio::time::sleep(every).await;
                    stream.write_all(b"x").await?;
                },
            }
        };
        let _: Result<io::Result<()>, _> = timeout_at(target.until, holding).await;
    });
    futures_util::future::join_all(holds).await;
    Ok(())
}

/// Writes `bytes`, and reads until the other side closes or is silent for `silence`.
pub async fn exchange(address: SocketAddr, bytes: &[u8], silence: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    while let Ok(read) = timeout(silence, stream.read_buf(&mut answer)).await {
        if read? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A gzip stream of many spaces, written by hand: 258 spaces take 13 bits. Its checksum is wrong,
/// but the gateway must stop before the checksum.
pub fn gzip_bomb(bytes: usize) -> Vec<u8> {
    struct Bits(Vec<u8>, u32);
    impl Bits {
        fn push(&mut self, bit: bool) {
            if self.1.is_multiple_of(8) {
                self.0.push(0);
            }
            if let (true, Some(last)) = (bit, self.0.last_mut()) {
                *last |= 1 << (self.1 % 8);
            }
            self.1 = (self.1 + 1) % 8;
        }
        /// Writes a Huffman code, first bit first.
        fn code(&mut self, code: u32, length: u32) {
            (0..length)
                .rev()
                .for_each(|bit| self.push(code >> bit & 1 == 1));
        }
    }
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    const REPEATS_LONGEST: usize = 258;
    let mut bits = Bits(HEAD.to_vec(), 0);
    // The last block, with the fixed codes.
    [true, true, false]
        .into_iter()
        .for_each(|bit| bits.push(bit));
    bits.code(0x30 + u32::from(b' '), 8);
    for _ in 0..bytes / REPEATS_LONGEST {
        // Length 258, distance 1.
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    [bits.0, vec![0; 8]].concat()
}
