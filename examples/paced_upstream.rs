//! An upstream that costs little: Featherless's answers, prepared once, in equal steps of time.
//!
//! ```text
//! cargo run --release --example paced_upstream -- 127.0.0.1:9100
//! ```
//! `benches/compare.py` measures gateways in front of it. A chat answer is one text, or a stream of
//! `max_tokens` tokens, each in a write of its own. The first chunk of a stream is sent at once and
//! the tokens follow at the pace, in microseconds, that `GET /pace/MICROSECONDS` has set. Streams
//! do not send their tokens at the same time: their first steps have different lengths. `GET /open`
//! is the number of chat answers that have not ended, and `GET /sent` the number of tokens sent.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this program fails by panicking"
)]

use std::{
    convert::Infallible,
    env,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, Sleep, sleep},
};

const MODEL: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";

/// The account's units: with this many, no call waits.
const UNITS: u32 = 1_000_000;

/// Featherless sends a snapshot of the units at this interval.
const SNAPSHOTS: Duration = Duration::from_secs(2);

/// The tokens of a stream whose request has no `max_tokens`.
const TOKENS: u32 = 50;

/// The fractional parts of its multiples are spread evenly, however many they are.
const GOLDEN: f64 = 0.618_033_988_75;

static PACE_MICROSECONDS: AtomicU64 = AtomicU64::new(20_000);
static STARTED: AtomicU32 = AtomicU32::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicUsize = AtomicUsize::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = env::args().nth(1).expect("the address to listen on");
    let address: SocketAddr = address.parse().expect("an address such as 127.0.0.1:9100");
    let listener = listen(address);
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream));
        }
    }
}

/// Thousands of connections may be opened at once.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).expect("a free port");
    socket.listen(8192).unwrap()
}

async fn connection(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST && path == "/v1/chat/completions" {
        return Ok(chat(request).await);
    }
    Ok(match path.as_str() {
        "/v1/models" => json(format!(r#"{{"data":[{}]}}"#, model())),
        "/v1/plan" => json(format!(
            "{{\"id\":\"paced\",\"name\":\"Paced\",\"max_context_length\":262144,\
             \"max_model_size\":1000,\"concurrency\":{UNITS}}}"
        )),
        "/account/concurrency" => json(snapshot()),
        "/account/concurrency/stream" => stream(Answer::Snapshots(Box::pin(sleep(Duration::ZERO)))),
        "/sent" => json(SENT.load(Relaxed).to_string()),
        "/open" => json(OPEN.load(SeqCst).to_string()),
        _ if path.starts_with("/v1/models/") => json(model()),
        _ => match path.strip_prefix("/pace/").map(str::parse) {
            Some(Ok(pace)) => {
                PACE_MICROSECONDS.store(pace, Relaxed);
                json("{}".to_owned())
            }
            _ => refused(StatusCode::NOT_FOUND, "no such path"),
        },
    })
}

fn model() -> String {
    format!(
        "{{\"id\":\"{MODEL}\",\"name\":\"{MODEL}\",\"object\":\"model\",\"created\":1721692800,\
         \"owned_by\":\"meta-llama\",\"model_class\":\"llama31-8b-16k\",\"context_length\":16384,\
         \"max_completion_tokens\":4096,\"is_gated\":false,\"available_on_current_plan\":true,\
         \"concurrency_cost\":1,\"status\":\"active\"}}"
    )
}

fn snapshot() -> String {
    let open = OPEN.load(SeqCst);
    format!(r#"{{"limit":{UNITS},"used_cost":{open},"request_count":{open},"requests":[]}}"#)
}

/// The members of a request that decide about the answer.
#[derive(Deserialize)]
struct Chat {
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u32>,
}

async fn chat(request: Request<Incoming>) -> Response<Answer> {
    let open = Open::new();
    let Ok(body) = request.into_body().collect().await else {
        return refused(StatusCode::BAD_REQUEST, "the request ended early");
    };
    let Ok(chat) = serde_json::from_slice::<Chat>(&body.to_bytes()) else {
        return refused(StatusCode::BAD_REQUEST, "no chat request");
    };
    if !chat.stream {
        return json(whole_answer());
    }
    stream(Answer::Tokens(Tokens::new(
        chat.max_tokens.unwrap_or(TOKENS),
        open,
    )))
}

fn whole_answer() -> String {
    let text = "A gateway stands between many callers and one service. It reads what they ask, \
                waits until the service has room, and passes each answer on as it comes.";
    format!(
        "{{\"id\":\"chatcmpl-5f0c1e7ab7d94c0f8a51\",\"object\":\"chat.completion\",\
         \"created\":1763800000,\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"logprobs\":null,\
         \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":210,\"completion_tokens\":33,\
         \"total_tokens\":243}}}}"
    )
}

fn chunk(delta: &str, finish: &str) -> Bytes {
    format!(
        "data: {{\"id\":\"chatcmpl-5f0c1e7ab7d94c0f8a51\",\"object\":\"chat.completion.chunk\",\
         \"created\":1763800000,\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
         \"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
    )
    .into()
}

fn json(text: String) -> Response<Answer> {
    with_type("application/json", Answer::Whole(Full::from(text)))
}

fn stream(answer: Answer) -> Response<Answer> {
    with_type("text/event-stream", answer)
}

fn with_type(content_type: &'static str, answer: Answer) -> Response<Answer> {
    Response::builder()
        .header(CONTENT_TYPE, content_type)
        .body(answer)
        .unwrap()
}

fn refused(status: StatusCode, what: &str) -> Response<Answer> {
    let mut response = json(format!(r#"{{"error":{{"message":"{what}"}}}}"#));
    *response.status_mut() = status;
    response
}

/// A chat answer that has not ended.
struct Open;

impl Open {
    fn new() -> Self {
        OPEN.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, SeqCst);
    }
}

/// The body of an answer.
enum Answer {
    Whole(Full<Bytes>),
    Tokens(Tokens),
    Snapshots(Pin<Box<Sleep>>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Tokens(tokens) => tokens.poll_next(cx).map(|part| part.map(frame)),
            Self::Snapshots(next) => {
                ready!(next.as_mut().poll(cx));
                next.as_mut().reset(Instant::now() + SNAPSHOTS);
                Poll::Ready(Some(frame(format!("data: {}\n\n", snapshot()).into())))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Tokens(_) | Self::Snapshots(_) => SizeHint::default(),
        }
    }
}

fn frame(bytes: Bytes) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(bytes))
}

/// A stream: its role at once, its tokens in steps, then its end.
struct Tokens {
    /// `None` before the first chunk.
    next: Option<Pin<Box<Sleep>>>,
    pace: Duration,
    token: Bytes,
    left: u32,
    /// `None` after the last chunk.
    open: Option<Open>,
}

impl Tokens {
    fn new(tokens: u32, open: Open) -> Self {
        Self {
            next: None,
            pace: Duration::from_micros(PACE_MICROSECONDS.load(Relaxed)),
            token: chunk(r#"{"content":" feather"}"#, "null"),
            left: tokens,
            open: Some(open),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(next) = &mut self.next else {
            let first = self.pace.mul_f64(0.5 + spread());
            self.next = Some(Box::pin(sleep(first)));
            return Poll::Ready(Some(chunk(r#"{"role":"assistant","content":""}"#, "null")));
        };
        if self.left > 0 {
            if !self.pace.is_zero() {
                ready!(next.as_mut().poll(cx));
                let time = next.deadline() + self.pace;
                next.as_mut().reset(time);
            }
            self.left -= 1;
            SENT.fetch_add(1, Relaxed);
            return Poll::Ready(Some(self.token.clone()));
        }
        Poll::Ready(self.open.take().map(|_| {
            let end = chunk("{}", "\"stop\"");
            [end.as_ref(), b"data: [DONE]\n\n"].concat().into()
        }))
    }
}

/// A number from 0 to 1. Those of successive streams are far apart.
fn spread() -> f64 {
    (f64::from(STARTED.fetch_add(1, Relaxed)) * GOLDEN).fract()
}
