//! An emulator on a free port, and a client that checks its answers.

use std::net::SocketAddr;
use std::time::Duration;

use featherwire::emulator::{EmulatorConfig, serve};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub const MODEL: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";
pub const EMBEDDING_MODEL: &str = "BAAI/bge-m3";
pub const VISION_MODEL: &str = "google/gemma-3-27b-it";
pub const MODEL_OF_4_UNITS: &str = "Qwen/Qwen2.5-72B-Instruct";

const POLL_EVERY: Duration = Duration::from_millis(5);
const POLLS_MAX: usize = 24_000;
/// The time without bytes after which a stream counts as silent.
const SILENCE: Duration = Duration::from_millis(150);
/// The longest wait for a stream that must continue.
pub const PATIENCE: Duration = crate::support::PATIENCE;

pub struct Peer {
    pub address: SocketAddr,
    pub task: JoinHandle<std::io::Result<()>>,
    pub shutdown: oneshot::Sender<()>,
    pub client: reqwest::Client,
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Peer {
    /// An emulator without delays between tokens.
    pub async fn start() -> Self {
        Self::with(EmulatorConfig {
            tokens_per_second: 0.0,
            ..EmulatorConfig::default()
        })
        .await
    }

    pub async fn with(config: EmulatorConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, signal) = oneshot::channel();
        let task = tokio::spawn(serve(listener, config, async {
            signal.await.ok();
        }));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build()
            .unwrap();
        Self {
            address,
            task,
            shutdown,
            client,
        }
    }

    pub fn request(&self, path: &str, body: impl Into<String>) -> reqwest::RequestBuilder {
        let request = self
            .client
            .post(format!("http://{}{path}", self.address))
            .body(body.into());
        request.header("content-type", "application/json")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::of(
            self.request(path, body.to_string())
                .bearer_auth("key")
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub async fn chat(&self, body: &Value) -> Value {
        let reply = self.post("/v1/chat/completions", body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    pub async fn get(&self, path: &str, key: Option<&str>) -> Reply {
        let request = self.client.get(format!("http://{}{path}", self.address));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        Reply::of(request.send().await.unwrap()).await
    }

    /// Starts a stream without reading from it.
    pub async fn open(&self, body: &Value) -> Stream {
        self.open_at("/v1/chat/completions", body).await
    }

    pub async fn open_at(&self, path: &str, body: &Value) -> Stream {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = self
            .request(path, body.to_string())
            .bearer_auth("key")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/event-stream")
        );
        Stream {
            response,
            text: String::new(),
            pending: Vec::new(),
        }
    }

    /// The events of a complete stream, without `[DONE]`.
    pub async fn events(&self, body: &Value) -> Vec<Value> {
        let mut stream = self.open(body).await;
        assert_eq!(stream.rest().await, End::Clean);
        assert!(stream.is_done(), "{}", stream.text);
        stream.events()
    }

    /// Sends a request and returns the connection, from which nothing has been read.
    pub async fn send_raw(&self, body: &Value) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let body = body.to_string();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: emulator\r\nauthorization: Bearer \
                    key\r\ncontent-type: application/json\r\ncontent-length: ";
        let request = format!("{head}{}\r\n\r\n{body}", body.len());
        connection.write_all(request.as_bytes()).await.unwrap();
        connection
    }

    /// Sets one of the emulator's switches.
    pub async fn set(&self, name: &str, value: &str) -> Reply {
        let url = format!("http://{}/emulator/switches/{name}", self.address);
        Reply::of(
            self.client
                .put(url)
                .body(value.to_owned())
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub async fn snapshot(&self) -> Value {
        self.get("/account/concurrency", Some("key")).await.json()
    }

    /// Waits until exactly `units` are in use.
    pub async fn until_used(&self, units: u64) {
        for _ in 0..POLLS_MAX {
            if self.snapshot().await["used_cost"] == units {
                return;
            }
            sleep(POLL_EVERY).await;
        }
        panic!("still not {units} units in use: {}", self.snapshot().await);
    }
}

impl Reply {
    async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The status and the `error.code` of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (
            self.status,
            self.json()["error"]["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

/// A stream that is being read.
pub struct Stream {
    response: reqwest::Response,
    pub text: String,
    /// The bytes of an incomplete character.
    pending: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub enum End {
    Clean,
    Broken,
    Silent,
}

impl Stream {
    /// Reads to the end of the stream.
    pub async fn rest(&mut self) -> End {
        loop {
            match timeout(PATIENCE, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.take(&bytes),
                Ok(Ok(None)) => return End::Clean,
                Ok(Err(_)) => return End::Broken,
                Err(_) => return End::Silent,
            }
        }
    }

    /// Waits for the next bytes.
    pub async fn more(&mut self) {
        let bytes = self
            .response
            .chunk()
            .await
            .unwrap()
            .expect("the stream ended");
        self.take(&bytes);
    }

    pub async fn is_silent(&mut self) -> bool {
        timeout(SILENCE, self.response.chunk()).await.is_err()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if let Ok(text) = std::str::from_utf8(&self.pending) {
            self.text.push_str(text);
            self.pending.clear();
        }
    }

    pub fn data(&self) -> Vec<&str> {
        self.text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .collect()
    }

    pub fn is_done(&self) -> bool {
        self.data().last() == Some(&"[DONE]")
    }

    /// The events that are JSON.
    pub fn events(&self) -> Vec<Value> {
        let events = self.data().into_iter().filter(|data| *data != "[DONE]");
        events
            .map(|data| serde_json::from_str(data).unwrap_or(Value::Null))
            .collect()
    }
}

pub fn ask(prompt: &str) -> Value {
    ask_model(MODEL, prompt)
}

pub fn ask_model(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

/// `body` with the members of `more`, which replace those of `body`.
pub fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

pub fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default()
}

/// The complete text of choice `index` of a stream.
pub fn streamed_text(events: &[Value], index: u64) -> String {
    let choices = events
        .iter()
        .map(|event| &event["choices"][0])
        .filter(|choice| choice["index"] == index);
    choices
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .collect()
}

pub fn finish(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["choices"][0]["finish_reason"].as_str())
        .collect()
}
