//! An upstream that does as it is told: it answers each connection's requests by a script, and tells what it saw. Plain
//! bytes over TCP, so that it can also do what no HTTP library would.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A JSON answer with this status.
    Json(u16, Value),
    /// An answer with this head (status and headers, without the empty line) and body.
    Raw(String, Vec<u8>),
    /// A stream of these events, and then its clean end.
    Events(Vec<String>),
    /// A stream of these events, and then nothing until the other side closes.
    EventsThenSilence(Vec<String>),
    /// A stream of these events, and then the connection is reset.
    EventsThenCut(Vec<String>),
    /// Nothing at all until the other side closes.
    Silence,
    /// The connection is closed without a word.
    HangUp,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(header, value)| header.eq_ignore_ascii_case(name).then_some(value))
    }
}

#[derive(Default)]
struct State {
    reply: Option<Reply>,
    first: VecDeque<Reply>,
    seen: Vec<Seen>,
    open: usize,
    connections: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }
}

/// The scripted upstream, for as long as the value lives.
pub struct Scripted {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// One that gives each request this reply.
    pub async fn always(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        shared.change(|state| state.reply = Some(reply));
        let state = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                state.change(|state| {
                    state.open += 1;
                    state.connections += 1;
                });
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let _ = converse(stream, &state).await;
                    state.change(|state| state.open -= 1);
                });
            }
        });
        Self { address, shared, task }
    }

    /// One that gives its first requests these replies, and all others the last of them.
    pub async fn first(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        let scripted = Self::always(replies.pop_back().unwrap()).await;
        scripted.shared.change(|state| state.first = replies);
        scripted
    }

    /// From now on, gives each request this reply.
    pub fn replies(&self, reply: Reply) {
        self.shared.change(|state| state.reply = Some(reply));
    }

    /// Waits until so many requests have arrived.
    pub async fn asked_times(&self, times: usize) {
        self.until("requests arrive", |state| state.seen.len() >= times).await;
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "one request, not {}", seen.len());
        seen.into_iter().next().unwrap()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// Waits until a request has arrived.
    pub async fn asked(&self) {
        self.until("a request arrives", |state| !state.seen.is_empty()).await;
    }

    /// Waits until no connection is open any more.
    pub async fn closed(&self) {
        self.until("every connection is closed", |state| state.open == 0).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                if is_so(&self.shared.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("until {what}"));
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        shared.change(|state| state.seen.push(request));
        let reply = {
            let mut state = shared.state.lock().unwrap();
            state.first.pop_front().or_else(|| state.reply.clone()).unwrap()
        };
        match &reply {
            Reply::Json(status, body) => {
                let body = body.to_string();
                let head =
                    format!("HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\nrequest-id: scripted-1");
                stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
            }
            Reply::Raw(head, body) => {
                stream
                    .write_all(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes())
                    .await?;
                stream.write_all(body).await?;
            }
            Reply::Events(events) => {
                write_events(&mut stream, events).await?;
                stream.write_all(b"0\r\n\r\n").await?;
            }
            Reply::EventsThenSilence(events) => {
                write_events(&mut stream, events).await?;
                return until_closed(&mut stream).await;
            }
            Reply::EventsThenCut(events) => {
                write_events(&mut stream, events).await?;
                return Ok(());
            }
            Reply::HangUp => return Ok(()),
            Reply::Silence => return until_closed(&mut stream).await,
        }
    }
    Ok(())
}

async fn write_events(stream: &mut TcpStream, events: &[String]) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: scripted-1\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    for event in events {
        let event = format!("data: {event}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    }
    Ok(())
}

async fn until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Seen>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let seen = Seen { head, body: Vec::new() };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
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

/// A chunk with this content, as an event.
pub fn chunk(content: &str) -> String {
    event(&serde_json::json!({"content": content}), None)
}

/// The chunk that finishes an answer.
pub fn finish() -> String {
    event(&serde_json::json!({}), Some("stop"))
}

/// A chunk with this delta.
pub fn event(delta: &Value, finish_reason: Option<&str>) -> String {
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": super::MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    })
    .to_string()
}
