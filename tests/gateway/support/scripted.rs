//! An upstream that does as it is told: it answers each connection's requests by a script, and
//! tells what it saw. Plain bytes over TCP, so that it can also do what no HTTP library would.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::{AbortHandle, JoinHandle},
};

/// The head of a streamed answer.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: \
                               scripted-1\r\ntransfer-encoding: chunked\r\n\r\n";

/// The pace of [`Then::Repeat`]: sooner than any clock of a story rings.
const REPEAT_EVERY: Duration = Duration::from_millis(1);

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
    /// Exactly these bytes, and then this.
    Wire(Vec<u8>, Then),
}

/// What follows the bytes of a [`Reply::Wire`].
#[derive(Clone, Debug)]
pub enum Then {
    /// The next request on the same connection.
    Next,
    /// Nothing until the other side closes.
    Silence,
    /// The connection is closed.
    Close,
    /// The connection is reset: RST, not FIN.
    Reset,
    /// These bytes again and again, a little apart, until the other side closes.
    Repeat(Vec<u8>),
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
    /// A model, and the answer to whoever asks for it, whatever the script says.
    broken: Option<(String, Reply)>,
    /// The answer to whoever asks for the catalogue, if that isn't part of the script. Then who
    /// asks for the account's units is told that they are free.
    catalogue: Option<Value>,
    /// What is done to a connection before anything is read from it.
    greeting: Option<Then>,
    /// The silence before each reply.
    pause: Option<Duration>,
    seen: Vec<Seen>,
    /// How many events could be written.
    written: usize,
    open: usize,
    connections: usize,
    /// How many connections have come to the end of their script, and wait for the other side to
    /// close.
    stuck: usize,
    /// Connections without a request are closed.
    is_resting: bool,
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

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.state.lock().unwrap()) {
                return;
            }
            changed.await;
        }
    }
}

/// The scripted upstream, for as long as the value lives.
pub struct Scripted {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
    /// Bound and never listening: nobody else gets the port while we refuse.
    _port: TcpSocket,
}

impl Scripted {
    /// One that gives each request this reply.
    pub async fn always(reply: Reply) -> Self {
        let port = bound("127.0.0.1:0".parse().unwrap());
        let address = port.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        shared.change(|state| state.reply = Some(reply));
        let task = accept(address, &shared).abort_handle();
        Self {
            address,
            shared,
            task,
            _port: port,
        }
    }

    /// From now on, nobody listens at the port: connections are refused.
    pub async fn refuse(&mut self) {
        self.task.abort();
        // The port is free when the task is gone, which is when nobody can connect any more.
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// From now on, connections are neither taken nor refused, for as long as the value returned
    /// lives: the queue of those who wait is full, and the kernel drops what comes besides.
    #[cfg(target_os = "linux")]
    pub async fn ignore(&mut self) -> impl Sized + use<> {
        self.refuse().await;
        let full = bound(self.address).listen(0).unwrap();
        let first = TcpStream::connect(self.address).await.unwrap();
        (full, first)
    }

    /// Takes connections again, after it has refused or ignored them.
    pub fn listen(&mut self) {
        self.task = accept(self.address, &self.shared).abort_handle();
    }

    /// From now on, does this to each new connection before anything is read from it; none for the
    /// usual.
    pub fn greets(&self, greeting: Option<Then>) {
        self.shared.change(|state| state.greeting = greeting);
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

    /// From now on, gives this reply to requests for this model, and does with others as before;
    /// none for all as before.
    pub fn breaks(&self, broken: Option<(&str, Reply)>) {
        self.shared
            .change(|state| state.broken = broken.map(|(model, reply)| (model.to_owned(), reply)));
    }

    /// From now on, says nothing for so long before each reply, and doesn't notice meanwhile who
    /// leaves; none for the usual.
    pub fn pauses(&self, pause: Option<Duration>) {
        self.shared.change(|state| state.pause = pause);
    }

    /// From now on, answers questions for the catalogue with this, and those for the account's
    /// units, beside the script and without counting them.
    pub fn knows(&self, catalogue: Value) {
        self.shared
            .change(|state| state.catalogue = Some(catalogue));
    }

    /// Waits until so many requests have arrived.
    pub async fn asked_times(&self, times: usize) {
        self.until("requests arrive", |state| state.seen.len() >= times)
            .await;
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

    /// How many events could be written so far.
    pub fn written(&self) -> usize {
        self.shared.state.lock().unwrap().written
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// Waits until a request has arrived.
    pub async fn asked(&self) {
        self.until("a request arrives", |state| !state.seen.is_empty())
            .await;
    }

    /// Waits until a reply has come to the end of its script, and waits for the other side to
    /// close.
    pub async fn stuck(&self) {
        self.until("a reply is stuck", |state| state.stuck > 0)
            .await;
    }

    /// Closes the connections that are kept for the next request, and waits until none at all is
    /// open: those with a request are for the other side to close.
    pub async fn rests(&self) {
        self.shared.change(|state| state.is_resting = true);
        self.closed().await;
        self.shared.change(|state| state.is_resting = false);
    }

    /// Waits until no connection is open any more.
    pub async fn closed(&self) {
        self.until("every connection is closed", |state| state.open == 0)
            .await;
    }

    async fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let wait = tokio::time::timeout(super::PATIENCE, self.shared.until(is_so));
        wait.await.unwrap_or_else(|_| panic!("until {what}"));
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket at this address, or at a free port. It shares the port with others that ask for this
/// very port.
fn bound(address: SocketAddr) -> TcpSocket {
    let begun = std::time::Instant::now();
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        // A free port is taken alone, and shared from then on.
        socket.set_reuseaddr(address.port() != 0).unwrap();
        match socket.bind(address) {
            Ok(()) => {
                socket.set_reuseaddr(true).unwrap();
                return socket;
            }
            // On a busy machine the kernel was seen to need a moment before a port that nobody
            // listens at may be shared.
            Err(error)
                if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < super::PATIENCE =>
            {
                std::thread::yield_now();
            }
            Err(error) => panic!("{address}: {error}"),
        }
    }
}

fn accept(address: SocketAddr, shared: &Arc<Shared>) -> JoinHandle<()> {
    let listener: TcpListener = bound(address).listen(1024).unwrap();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            shared.change(|state| {
                state.open += 1;
                state.connections += 1;
            });
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _ = converse(stream, &shared).await;
                shared.change(|state| state.open -= 1);
            });
        }
    })
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
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
                // Not every body of a story is one that can be read.
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

/// Ends a connection that is kept for the next request, and waits until the other side has seen
/// that and closed too: from then on it sends no request over it.
async fn rest(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut nothing = [0; 16];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

/// The last thing that is done with a connection.
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

/// A piece of a body whose length isn't known beforehand.
pub fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
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

/// What an account says of its units when nobody uses them.
fn nothing_in_flight() -> Value {
    serde_json::json!({"limit": 8, "used_cost": 0, "request_count": 0, "requests": []})
}

/// A whole answer with this content.
pub fn whole(content: &str) -> Value {
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": super::MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]
    })
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
