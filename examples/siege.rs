//! Attacks a gateway and checks the promises of `SECURITY.md`: a table of attacks, each for a few
//! seconds, against the real program in its own process, with the emulator as its upstream.
//!
//! ```text
//! cargo build && cargo run --example siege
//! ```
//! For each attack it prints the gateway's memory before, at most and after, and the times of
//! `/healthz` for another caller. A promise is broken if the attack itself reports it, if a probe
//! gets no answer or takes too long, if memory grows beyond the attack's limit or is not released,
//! or if the next calls are not answered. Then the exit code is 1. The argument is the duration of
//! each attack in seconds. Only addresses of this machine are called. Linux only.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this program fails by panicking"
)]

use std::{env, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use featherwire::proto::v1::{
    ChatMessage, CreateChatCompletionRequest, chat_service_client::ChatServiceClient,
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};
use tonic::Request;

#[path = "siege/attacks.rs"]
mod attacks;
#[path = "siege/measure.rs"]
mod measure;
#[path = "common/process.rs"]
mod process;
#[path = "siege/wire.rs"]
mod wire;

use attacks::{ATTACKS, Against, Attack};
use measure::{Bystander, Seen};
use process::{Numbers, Process, mib};

const MODEL: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";
const KEY: &str = "gw_live_siege_000000000000000000";

/// The default duration of an attack.
const SECONDS: u64 = 2;

/// The limit for the 99th percentile of the probes, in milliseconds. The goal is for an optimized
/// program. A program without optimization, as in `.ci/run`, is ten times slower and shares a few
/// cores with the attackers, so its limit is higher. Every probe must be answered in any case.
const PROBE_GOAL_MS: f64 = 50.0;
const PROBE_MAX_MS: f64 = if cfg!(debug_assertions) {
    2000.0
} else {
    PROBE_GOAL_MS
};

/// The number of connections that flood the gateway at the same time. Without optimization, one
/// connection uses as much of a core as several connections with optimization.
const FLOODS: usize = if cfg!(debug_assertions) { 1 } else { 4 };

/// The longest time for which an attack may continue after its duration, to wait for running
/// answers.
const AFTERMATH_MAX: Duration = Duration::from_secs(40);

/// The longest time until memory is released, and the limit for the remaining memory: twice the
/// memory before, or this number of bytes more, because the allocator keeps some memory.
const REST_MAX: Duration = Duration::from_secs(30);
const REST_BYTES: f64 = 48.0 * 1024.0 * 1024.0;

/// The timeout for the first calls after an attack.
const NEXT_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of descriptors of the starved gateway.
const DESCRIPTORS: usize = 256;

/// The gateway under attack.
struct Target {
    address: SocketAddr,
    url: String,
    numbers: Numbers,
    http: reqwest::Client,
    /// The end of the attack.
    pub until: Instant,
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = env::args()
        .nth(1)
        .map_or(SECONDS, |text| text.parse().expect("seconds"));
    let emulator = [
        "emulator",
        "--listen",
        "127.0.0.1:0",
        "--emulator-units",
        "200",
        "--tokens-per-second",
        "0",
    ];
    let emulator = Process::start(
        &[&emulator[..], &["--emulator-models", "22000"]].concat(),
        &[],
        None,
    )
    .await;
    let misleading = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let misled_by = format!("http://{}", misleading.local_addr().unwrap());
    tokio::spawn(attacks::endless_heads(misleading));
    let gateways = [
        (Against::Usual, gateway(&emulator.url, &[], None).await),
        (
            Against::Starved,
            gateway(&emulator.url, &[], Some(DESCRIPTORS)).await,
        ),
        (
            Against::Misled,
            gateway(
                &misled_by,
                &[
                    "--first-token-timeout",
                    "2s",
                    "--units",
                    "0",
                    "--retries",
                    "0",
                ],
                None,
            )
            .await,
        ),
    ];
    println!(
        "{:34} {:>26} {:>18}  verdict",
        "attack", "MiB before, most, after", "probe ms p50, p99"
    );
    let mut broken = 0;
    for attack in ATTACKS {
        let (_, gateway) = gateways
            .iter()
            .find(|(against, _)| *against == attack.against)
            .unwrap();
        broken += usize::from(!besiege(attack, gateway, Duration::from_secs(seconds)).await);
    }
    println!("{} attacks, {broken} broken promises", ATTACKS.len());
    for (against, gateway) in gateways {
        let exit = gateway.stop().await;
        if !exit.success() {
            println!("BROKEN the end of the gateway ({against:?}): {exit}");
            broken += 1;
        }
    }
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn gateway(upstream: &str, flags: &[&str], descriptors: Option<usize>) -> Process {
    let upstream = format!("{upstream}/v1");
    let environment = [
        ("FEATHERLESS_BASE_URL", &*upstream),
        ("FEATHERLESS_API_KEY", "any"),
        ("FEATHERWIRE_API_KEYS", KEY),
    ];
    let flags = [
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--circuit-failures",
            "0",
        ],
        flags,
    ]
    .concat();
    Process::start(&flags, &environment, descriptors).await
}

/// Runs an attack, measures, and reports. Returns true if no promise was broken.
async fn besiege(attack: &Attack, gateway: &Process, time: Duration) -> bool {
    let is_misled = attack.against == Against::Misled;
    if !is_misled {
        // Creates everything that the first call creates and that stays afterwards.
        if let Err(fault) = next_calls(&target(gateway, time)).await {
            println!(
                "{:34} {:>45}  BROKEN before the attack: {fault}",
                attack.name, ""
            );
            return false;
        }
    }
    let target = target(gateway, time);
    let before = gateway.numbers().memory();
    let bystander = Bystander::begin(target.address, gateway.numbers());
    let attacked = timeout(time + AFTERMATH_MAX, (attack.attack)(Arc::clone(&target))).await;
    let seen = bystander.end();
    let mut faults = Vec::new();
    faults.extend(
        attacked
            .unwrap_or_else(|_| Err("a call does not end".to_owned()))
            .err(),
    );
    if !is_misled {
        faults.extend(next_calls(&target).await.err());
    }
    let after = at_rest(gateway, before).await;
    faults.extend(faults_of(&seen, before, after, attack.memory_mib));
    let (p50, p99) = (seen.percentile_ms(50), seen.percentile_ms(99));
    println!(
        "{:34} {:8.1} {:8.1} {:8.1} {p50:9.1} {p99:8.1}  {}",
        attack.name,
        mib(before),
        mib(seen.memory_max),
        mib(after),
        match faults.as_slice() {
            [] if p99 > PROBE_GOAL_MS => format!("ok (above {PROBE_GOAL_MS:.0} ms)"),
            [] => "ok".to_owned(),
            faults => format!("BROKEN {}", faults.join("; ")),
        }
    );
    faults.is_empty()
}

fn target(gateway: &Process, time: Duration) -> Arc<Target> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(Target {
        address: gateway.url.trim_start_matches("http://").parse().unwrap(),
        url: gateway.url.clone(),
        numbers: gateway.numbers(),
        http: reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap(),
        until: Instant::now() + time,
    })
}

fn faults_of(seen: &Seen, before: f64, after: f64, memory_mib: f64) -> Vec<String> {
    let mut faults = Vec::new();
    if seen.unanswered > 0 {
        faults.push(format!("{} probes without an answer", seen.unanswered));
    }
    if seen.percentile_ms(99) > PROBE_MAX_MS {
        faults.push(format!("probes took more than {PROBE_MAX_MS} ms"));
    }
    if mib(seen.memory_max - before) > memory_mib {
        faults.push(format!("memory grew by more than {memory_mib:.0} MiB"));
    }
    if after == 0.0 {
        faults.push("the gateway has ended".to_owned());
    }
    if after > bound_at_rest(before) {
        faults.push(format!(
            "memory was not released within {} s",
            REST_MAX.as_secs()
        ));
    }
    faults
}

fn bound_at_rest(before: f64) -> f64 {
    (2.0 * before).max(before + REST_BYTES)
}

/// Waits until the memory is released, and returns the remaining memory.
async fn at_rest(gateway: &Process, before: f64) -> f64 {
    let until = Instant::now() + REST_MAX;
    while gateway.numbers().memory() > bound_at_rest(before) && Instant::now() < until {
        sleep(Duration::from_millis(250)).await;
    }
    gateway.numbers().memory()
}

/// The first calls after an attack, over new connections: one through each door.
async fn next_calls(target: &Target) -> Result<(), String> {
    let calls = async {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap();
        let body = json!({"model": MODEL, "max_tokens": 5, "messages": [{"role": "user",
                "content": "hi"}]})
        .to_string();
        let post = http
            .post(format!("{}/v1/chat/completions", target.url))
            .header("x-api-key", KEY);
        let answer = post
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        let status = answer
            .map_err(|error| format!("the next call over REST: {error:?}"))?
            .status();
        if status != 200 {
            return Err(format!("the next call over REST: {status}"));
        }
        let channel = target
            .endpoint()
            .connect()
            .await
            .map_err(|error| format!("no connection for gRPC: {error}"))?;
        let content = Some("hi".to_owned());
        let message = ChatMessage {
            role: "user".to_owned(),
            content,
            ..ChatMessage::default()
        };
        let mut request = Request::new(CreateChatCompletionRequest {
            model: MODEL.to_owned(),
            messages: vec![message],
            max_tokens: Some(5),
            ..Default::default()
        });
        request
            .metadata_mut()
            .insert("x-api-key", KEY.parse().unwrap());
        let answer = ChatServiceClient::new(channel)
            .create_chat_completion(request)
            .await;
        answer
            .map(drop)
            .map_err(|status| format!("the next call over gRPC: {status}"))
    };
    timeout(NEXT_CALL_TIMEOUT, calls)
        .await
        .unwrap_or_else(|_| Err("the next call is not answered".to_owned()))
}
