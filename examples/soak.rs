//! Runs a gateway under mixed load and checks that it keeps no memory, descriptors or units.
//!
//! ```text
//! cargo build --release && cargo run --release --example soak -- 10
//! ```
//! runs `featherwire serve` for 10 minutes, and `featherwire emulator`, in their own processes (the
//! program in the same folder, or the program in `FEATHERWIRE`). It sends calls through REST and
//! gRPC: successful calls, calls with all faults of the emulator, cancelled calls, calls with
//! deadlines, and calls whose answers are not read. At intervals all callers pause, and the memory
//! of the gateway is measured, because under load it varies with the running answers. The program
//! prints a verdict, and its exit code is the same verdict. Linux only: it reads `/proc`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this program fails by panicking"
)]

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use featherwire::{
    emulator::FAULTS,
    proto::v1::{ChatMessage, CreateChatCompletionRequest, chat_service_client::ChatServiceClient},
};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};
use tonic::{Code, Request, transport::Channel};

#[path = "common/process.rs"]
mod process;

use process::{Numbers, Process, mib};

const MODEL: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";

/// The number of simultaneous calls.
const CALLERS: usize = 64;

/// The number of HTTP/2 connections for the gRPC calls.
const CHANNELS: usize = 8;

/// The time for which callers send calls, and the pause before the gateway is measured.
const ROUND: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(5);

/// The longest time until the gateway has released everything. It keeps idle upstream connections
/// for 50 s, and checks them at the same interval.
const REST_MAX: Duration = Duration::from_secs(120);

/// The limit for the growth of the memory at rest in the second half, because the allocator's
/// memory varies.
const GROWTH_BYTES_MAX: f64 = 4.0 * 1024.0 * 1024.0;

/// The numbers of calls by their end, as the callers saw it.
#[derive(Default)]
struct Ends {
    done: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    /// Calls without an error message, or with an error that means a bug in the gateway.
    broken: AtomicU64,
}

impl Ends {
    fn count(&self, end: &End) {
        let counter = match end {
            End::Done => &self.done,
            End::Failed => &self.failed,
            End::Cancelled => &self.cancelled,
            End::Broken(what) => {
                eprintln!("broken: {what}");
                &self.broken
            }
        };
        counter.fetch_add(1, Relaxed);
    }
}

enum End {
    Done,
    Failed,
    Cancelled,
    Broken(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    let minutes: f64 = env::args()
        .nth(1)
        .map_or(10.0, |text| text.parse().expect("minutes"));
    let emulator = [
        "emulator",
        "--listen",
        "127.0.0.1:0",
        "--emulator-units",
        "200",
        "--tokens-per-second",
        "400",
    ];
    let emulator = Process::start(&emulator, &[], None).await;
    let upstream = format!("{}/v1", emulator.url);
    let environment = [
        ("FEATHERLESS_BASE_URL", upstream.as_str()),
        ("FEATHERLESS_API_KEY", "any"),
    ];
    let server = Process::start(SERVE, &environment, None).await;
    let (address, proc) = (server.url.clone(), server.numbers());
    let ends = Arc::<Ends>::default();

    // Creates everything that the first call creates and that stays afterwards.
    let load = Load::new(&address).await;
    load.call_once().await;
    drop(load);
    let descriptors_before = rest(&proc, None).await;
    println!(
        "{CALLERS} callers for {minutes} minutes at {address}; {descriptors_before} descriptors \
         at rest"
    );

    let load = Arc::new(Load::new(&address).await);
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed().as_secs_f64() < minutes * 60.0 {
        let busy = round(&load, &ends, &proc).await;
        sleep(PAUSE).await;
        let kept = proc.memory();
        samples.push((begun.elapsed().as_secs_f64(), kept));
        report(begun, busy, kept, &proc, &ends);
    }
    let units_after = load.units().await;
    drop(load);
    let descriptors_after = rest(&proc, Some(descriptors_before)).await;
    let exit = server.stop().await;

    let growth = growth(&samples[samples.len() / 2..]);
    let verdicts = [
        (
            descriptors_after <= descriptors_before,
            format!("descriptors: {descriptors_before} before, {descriptors_after} after"),
        ),
        (
            growth <= GROWTH_BYTES_MAX,
            format!(
                "memory at rest in the second half: {:+.1} MiB (by its slope)",
                mib(growth)
            ),
        ),
        (
            units_after == json!(0),
            format!("units held after: {units_after}"),
        ),
        (
            ends.broken.load(Relaxed) == 0,
            format!("calls broken: {}", ends.broken.load(Relaxed)),
        ),
        (exit.success(), format!("the server's end: {exit}")),
    ];
    for (is_good, what) in &verdicts {
        println!("{} {what}", if *is_good { "ok  " } else { "FAIL" });
    }
    if verdicts.iter().all(|(is_good, _)| *is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

const SERVE: &[&str] = &[
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--first-token-timeout",
    "1s",
    "--idle-timeout",
    "1s",
    "--write-timeout",
    "1s",
    "--circuit-failures",
    "0",
    "--queue-timeout",
    "2s",
    "--retry-wait",
    "50ms",
];

/// All callers send calls for a while, and wait for the end of their last call. Returns the largest
/// memory, in bytes.
async fn round(load: &Arc<Load>, ends: &Arc<Ends>, proc: &Numbers) -> f64 {
    let until = Instant::now() + ROUND;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (load, ends) = (Arc::clone(load), Arc::clone(ends));
        callers.spawn(async move {
            while Instant::now() < until {
                ends.count(&load.call().await);
            }
        });
    }
    let mut most: f64 = 0.0;
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = ticks.tick() => most = most.max(proc.memory()),
            ended = callers.join_next() => match ended {
                Some(ended) => ended.unwrap(),
                None => return most,
            },
        }
    }
}

fn report(begun: Instant, busy: f64, kept: f64, proc: &Numbers, ends: &Ends) {
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "{:5.0} s  {:6.1} MiB at most  {:6.1} MiB at rest  {:4} descriptors  {} done  {} failed  \
         {} cancelled  {} broken",
        begun.elapsed().as_secs_f64(),
        mib(busy),
        mib(kept),
        proc.descriptors(),
        of(&ends.done),
        of(&ends.failed),
        of(&ends.cancelled),
        of(&ends.broken),
    );
}

/// Waits until no connection is left, or until the number of descriptors is at most `goal`. Returns
/// the number of descriptors.
async fn rest(proc: &Numbers, goal: Option<usize>) -> usize {
    let until = Instant::now() + REST_MAX;
    // Without a goal, waits as long as idle connections are kept.
    while Instant::now() < until && goal.is_none_or(|goal| proc.descriptors() > goal) {
        sleep(Duration::from_secs(1)).await;
    }
    proc.descriptors()
}

/// The rise of the regression line from the first sample to the last.
#[allow(clippy::cast_precision_loss, reason = "a few hundred samples")]
fn growth(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let (mut up, mut along) = (0.0, 0.0);
    for (at, bytes) in samples {
        up += (at - time) * (bytes - memory);
        along += (at - time).powi(2);
    }
    let seconds =
        samples.last().map_or(0.0, |last| last.0) - samples.first().map_or(0.0, |first| first.0);
    if along > 0.0 {
        up / along * seconds
    } else {
        0.0
    }
}

/// The load: the clients and their calls.
struct Load {
    address: String,
    http: reqwest::Client,
    channels: Vec<Channel>,
}

impl Load {
    async fn new(address: &str) -> Self {
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            channels.push(
                Channel::from_shared(address.to_owned())
                    .unwrap()
                    .connect()
                    .await
                    .unwrap(),
            );
        }
        Self {
            address: address.to_owned(),
            http: client(),
            channels,
        }
    }

    /// One successful call through each door.
    async fn call_once(&self) {
        for is_stream in [true, false] {
            assert!(matches!(
                self.rest(MODEL, is_stream, None, &self.http).await,
                End::Done
            ));
            assert!(matches!(self.grpc(MODEL, is_stream, None).await, End::Done));
        }
    }

    /// A random call.
    async fn call(&self) -> End {
        let fault = fastrand::choice(FAULTS).unwrap().model;
        let model = if fastrand::u8(..3) == 0 { MODEL } else { fault };
        let is_stream = fastrand::u8(..4) > 0;
        let limit = (fastrand::u8(..6) == 0).then(|| fastrand::u64(1..600).to_string());
        let call = async {
            if fastrand::bool() {
                // Most calls use existing connections, and some use a new one.
                let fresh = (fastrand::u8(..8) == 0).then(client);
                self.rest(
                    model,
                    is_stream,
                    limit.as_deref(),
                    fresh.as_ref().unwrap_or(&self.http),
                )
                .await
            } else {
                self.grpc(model, is_stream, limit.as_deref()).await
            }
        };
        match fastrand::u8(..10) {
            0 | 1 => timeout(Duration::from_millis(fastrand::u64(..400)), call)
                .await
                .unwrap_or(End::Cancelled),
            2 => self.unread().await,
            _ => call.await,
        }
    }

    async fn rest(
        &self,
        model: &str,
        is_stream: bool,
        limit: Option<&str>,
        http: &reqwest::Client,
    ) -> End {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}],
            "stream": is_stream});
        let post = http
            .post(format!("{}/v1/chat/completions", self.address))
            .header("content-type", "application/json");
        let post = limit.into_iter().fold(post, |post, limit| {
            post.header("x-request-timeout-ms", limit)
        });
        let response = match post.body(body.to_string()).send().await {
            Ok(response) => response,
            Err(error) => return End::Broken(format!("REST {model}: {error:?}")),
        };
        let status = response.status().as_u16();
        match response.text().await {
            Err(error) => End::Broken(format!("REST {model}: {error:?}")),
            Ok(text) if status == 500 || text.contains("\"internal_error\"") => {
                End::Broken(format!("REST {model}: {text}"))
            }
            Ok(text) if status == 200 && (!is_stream || text.ends_with("data: [DONE]\n\n")) => {
                End::Done
            }
            Ok(text) if text.contains("\"error\"") => End::Failed,
            Ok(_) => End::Broken(format!(
                "REST {model}: an answer without an end, status {status}"
            )),
        }
    }

    async fn grpc(&self, model: &str, is_stream: bool, limit: Option<&str>) -> End {
        let mut client = self.client();
        let request = request(model, limit);
        let result = if is_stream {
            match client.stream_chat_completion(request).await {
                Ok(response) => {
                    let mut pieces = response.into_inner();
                    loop {
                        match pieces.message().await {
                            Ok(Some(_)) => {}
                            Ok(None) => break Ok(()),
                            Err(status) => break Err(status),
                        }
                    }
                }
                Err(status) => Err(status),
            }
        } else {
            client.create_chat_completion(request).await.map(drop)
        };
        match result {
            Ok(()) => End::Done,
            // The gateway's errors have details. The error of a broken connection has none.
            Err(status) if status.details().is_empty() || status.code() == Code::Internal => {
                End::Broken(format!("gRPC {model}: {status:?}"))
            }
            Err(_) => End::Failed,
        }
    }

    /// A stream larger than its window, which is not read for about as long as the gateway waits.
    /// It has its own connection, because unread data also fills the window of the connection and
    /// would block other calls.
    async fn unread(&self) -> End {
        let channel = Channel::from_shared(self.address.clone())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let held = ChatServiceClient::new(channel)
            .stream_chat_completion(request("emulator/giant-line", None))
            .await;
        sleep(Duration::from_millis(fastrand::u64(500..2000))).await;
        drop(held);
        End::Cancelled
    }

    fn client(&self) -> ChatServiceClient<Channel> {
        ChatServiceClient::new(fastrand::choice(&self.channels).unwrap().clone())
    }

    /// The units in use, when none is in use or after a short time.
    async fn units(&self) -> Value {
        let mut used = Value::Null;
        for _ in 0..50 {
            let answer = self
                .http
                .get(format!("{}/v1/concurrency", self.address))
                .send()
                .await
                .unwrap();
            let concurrency: Value =
                serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            used = concurrency["used_cost"].clone();
            if used == json!(0) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        used
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}

fn request(model: &str, limit: Option<&str>) -> Request<CreateChatCompletionRequest> {
    let content = Some("hi".to_owned());
    let message = ChatMessage {
        role: "user".to_owned(),
        content,
        ..ChatMessage::default()
    };
    let request = CreateChatCompletionRequest {
        model: model.to_owned(),
        messages: vec![message],
        ..Default::default()
    };
    let mut request = Request::new(request);
    if let Some(limit) = limit {
        request
            .metadata_mut()
            .insert("x-request-timeout-ms", limit.parse().unwrap());
    }
    request
}
