//! One connection of the scripted upstream: reads its requests and plays the script.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    answers::{STREAM_HEAD, chunked},
    script::{Reply, Then},
    state::{Seen, Shared},
};

/// The pause of [`Then::Repeat`]: shorter than any timeout of a test.
const REPEAT_EVERY: Duration = Duration::from_millis(1);

pub async fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let greeting = shared.state.lock().unwrap().greeting.clone();
    if let Some(greeting) = greeting {
        return then(stream, &greeting, shared).await;
    }
    let mut buffer = Vec::new();
    loop {
        let request = tokio::select! {
            request = read_request(&mut stream, &mut buffer) => request?,
            () = shared.until(|state| state.is_resting) => None,
        };
        let Some(request) = request else {
            return rest(stream).await;
        };
        let catalogue = shared.state.lock().unwrap().catalogue.clone();
        let reply = match catalogue {
            Some(catalogue) if request.head.starts_with("GET /v1/models ") => {
                Reply::Json(200, catalogue)
            }
            Some(_) if request.head.starts_with("GET /account/concurrency ") => {
                Reply::Json(200, nothing_in_flight())
            }
            _ => {
                // Some tests send bodies that are not JSON.
                let model = serde_json::from_slice::<Value>(&request.body)
                    .map(|body| body["model"].clone());
                shared.change(|state| state.seen.push(request));
                let pause = shared.state.lock().unwrap().pause;
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                let mut state = shared.state.lock().unwrap();
                let broken = state
                    .broken
                    .clone()
                    .filter(|(broken, _)| model.is_ok_and(|model| model == broken.as_str()));
                let reply = broken
                    .map(|(_, reply)| reply)
                    .or_else(|| state.first.pop_front());
                reply.or_else(|| state.reply.clone()).unwrap()
            }
        };
        match &reply {
            Reply::Json(status, body) => {
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\nrequest-id: \
                     scripted-1"
                );
                stream
                    .write_all(
                        format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                            .as_bytes(),
                    )
                    .await?;
            }
            Reply::Raw(head, body) => {
                stream
                    .write_all(
                        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len())
                            .as_bytes(),
                    )
                    .await?;
                stream.write_all(body).await?;
            }
            Reply::Events(events) => {
                write_events(&mut stream, events, shared).await?;
                stream.write_all(b"0\r\n\r\n").await?;
            }
            Reply::EventsThenSilence(events) => {
                write_events(&mut stream, events, shared).await?;
                return then(stream, &Then::Silence, shared).await;
            }
            Reply::EventsThenCut(events) => {
                write_events(&mut stream, events, shared).await?;
                return Ok(());
            }
            Reply::HangUp => return Ok(()),
            Reply::Silence => return then(stream, &Then::Silence, shared).await,
            Reply::Wire(bytes, Then::Next) => stream.write_all(bytes).await?,
            Reply::Wire(bytes, after) => {
                stream.write_all(bytes).await?;
                return then(stream, after, shared).await;
            }
        }
    }
}

/// Closes an idle connection, and waits until the other side has closed it too, after which no
/// request can arrive.
async fn rest(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut nothing = [0; 16];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

/// Runs the last action of a connection.
async fn then(mut stream: TcpStream, then: &Then, shared: &Shared) -> std::io::Result<()> {
    match then {
        Then::Next | Then::Close => Ok(()),
        Then::Reset => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
        Then::Silence => {
            shared.change(|state| state.stuck += 1);
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            Ok(())
        }
        Then::Repeat(bytes) => {
            shared.change(|state| state.stuck += 1);
            loop {
                stream.write_all(bytes).await?;
                tokio::time::sleep(REPEAT_EVERY).await;
            }
        }
    }
}

async fn write_events(
    stream: &mut TcpStream,
    events: &[String],
    shared: &Shared,
) -> std::io::Result<()> {
    stream.write_all(STREAM_HEAD.as_bytes()).await?;
    for event in events {
        stream
            .write_all(chunked(&format!("data: {event}\n\n")).as_bytes())
            .await?;
        shared.change(|state| state.written += 1);
    }
    Ok(())
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Seen>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let seen = Seen {
                head,
                body: Vec::new(),
            };
            let length: usize = seen
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Ok(Some(Seen { body, ..seen }));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The state of an account whose units are all free.
fn nothing_in_flight() -> Value {
    serde_json::json!({"limit": 8, "used_cost": 0, "request_count": 0, "requests": []})
}
