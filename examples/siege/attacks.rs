//! The table of attacks. Each one tries to break a promise of `SECURITY.md`.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use featherwire::proto::v1::CreateChatCompletionRequest;
use prost::Message;
use reqwest::Response;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, sleep, timeout, timeout_at},
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::{
    KEY, MODEL, Target,
    wire::{
        self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, call_head,
        chat_head, exchange, flood, frame, hold,
    },
};

/// An attack.
pub struct Attack {
    pub name: &'static str,
    /// The gateway under attack.
    pub against: Against,
    /// The limit for additional memory of the gateway during the attack, in MiB.
    pub memory_mib: f64,
    /// Runs the attack until its time is over. An error is a broken promise.
    pub attack: fn(Arc<Target>) -> Attacking,
}

type Attacking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The gateways of a siege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// A gateway in front of the emulator, with a key for its callers.
    Usual,
    /// The same, with few descriptors.
    Starved,
    /// A gateway whose upstream is [`endless_heads`].
    Misled,
}

/// The memory that the allocator may keep, and that hundreds of small calls take.
const LITTLE_MIB: f64 = 48.0;

/// The number of simultaneous large prompts, and their size. All of them together may take 1.5
/// times their size in memory.
const LARGE_PROMPTS: usize = 8;
const LARGE_PROMPT_MIB: usize = 15;
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
const LARGE_MIB: f64 = 1.5 * (LARGE_PROMPTS * LARGE_PROMPT_MIB) as f64 + LITTLE_MIB;

/// The number of bombs that are decoded at the same time. Each may take 32 MiB
/// (`--max-request-bytes`), and twice as much in addition while its buffer grows.
const BOMBERS: usize = 4;
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
const BOMBS_MIB: f64 = (BOMBERS * 32 * 3) as f64 + LITTLE_MIB;

macro_rules! attack {
    ($name:literal, $against:ident, $memory:expr, $attack:path) => {
        Attack {
            name: $name,
            against: Against::$against,
            memory_mib: $memory,
            attack: |target| Box::pin(async move { $attack(&target).await }),
        }
    };
}

#[rustfmt::skip]
pub const ATTACKS: &[Attack] = &[
    attack!("rapid reset",                     Usual,   LITTLE_MIB,       rapid_reset),
    attack!("MadeYouReset",                    Usual,   LITTLE_MIB,       made_you_reset),
    attack!("CONTINUATION flood",              Usual,   LITTLE_MIB,       continuation_flood),
    attack!("HPACK bomb",                      Usual,   LITTLE_MIB,       hpack_bomb),
    attack!("slow heads",                      Usual,   LITTLE_MIB,       slow_heads),
    attack!("slow bodies",                     Usual,   LITTLE_MIB,       slow_bodies),
    attack!("empty messages in JSON",          Usual,   2.0 * LITTLE_MIB, empty_messages_json),
    attack!("empty messages in protobuf",      Usual,   2.0 * LITTLE_MIB, empty_messages_protobuf),
    attack!("large prompts at once",           Usual,   LARGE_MIB,        large_prompts),
    attack!("bodies without a key",            Usual,   LITTLE_MIB,       bodies_without_a_key),
    attack!("health watches",                  Usual,   LITTLE_MIB,       health_watches),
    attack!("idle reflection",                 Usual,   LITTLE_MIB,       idle_reflection),
    attack!("unknown models",                  Usual,   LITTLE_MIB,       unknown_models),
    attack!("early refusals",                  Usual,   LITTLE_MIB,       early_refusals),
    attack!("gzip bombs",                      Usual,   BOMBS_MIB,        gzip_bombs),
    attack!("huge heads",                      Usual,   LITTLE_MIB,       huge_heads),
    attack!("smuggled requests",               Usual,   LITTLE_MIB,       smuggled_requests),
    attack!("idle connections",                Usual,   LITTLE_MIB,       idle_connections),
    attack!("more connections than descriptors", Starved, LITTLE_MIB,       idle_connections),
    attack!("endless 1xx heads of upstream",     Misled,  LITTLE_MIB,       endless_1xx),
];

async fn rapid_reset(target: &Target) -> Result<(), String> {
    const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
    flood(target, |wave| {
        let head = call_head();
        let call = |stream| {
            [
                frame(HEADERS, END_HEADERS, stream, &head),
                frame(RST_STREAM, 0, stream, &CANCEL),
            ]
            .concat()
        };
        streams(wave).flat_map(call).collect()
    })
    .await
}

/// Violates the protocol in each call, so that the gateway resets the stream.
async fn made_you_reset(target: &Target) -> Result<(), String> {
    flood(target, |wave| {
        let head = call_head();
        let nothing = [0; 4];
        let call = |stream| {
            [
                frame(HEADERS, END_HEADERS, stream, &head),
                frame(WINDOW_UPDATE, 0, stream, &nothing),
            ]
            .concat()
        };
        streams(wave).flat_map(call).collect()
    })
    .await
}

/// The stream ids of the calls in a wave.
fn streams(wave: u32) -> impl Iterator<Item = u32> {
    const CALLS: u32 = 100;
    (wave * CALLS..(wave + 1) * CALLS).map(|call| 2 * call + 1)
}

async fn continuation_flood(target: &Target) -> Result<(), String> {
    flood(target, |wave| {
        // A header whose name is incomplete, so that it cannot be processed.
        let header = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(150);
        match wave {
            0 => frame(HEADERS, 0, 1, &call_head()),
            _ => frame(CONTINUATION, 0, 1, &header),
        }
    })
    .await
}

/// One large header in the table, and then thousands of references to it, each of one byte.
async fn hpack_bomb(target: &Target) -> Result<(), String> {
    flood(target, |wave| {
        const INDEXED_LITERAL: u8 = 0x40;
        const FIRST_OF_THE_TABLE: u8 = 0x80 | 62;
        const LENGTH_4000: [u8; 3] = [0x7f, 0xa1, 0x1e];
        let large = [&[INDEXED_LITERAL, 1, b'x'][..], &LENGTH_4000, &[b'y'; 4000]].concat();
        let block = [call_head(), large, vec![FIRST_OF_THE_TABLE; 12_000]].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * wave + 1, &block)
    })
    .await
}

const SLOW: usize = 300;
const SLOWLY: Duration = Duration::from_millis(200);

async fn slow_heads(target: &Target) -> Result<(), String> {
    hold(
        target,
        SLOW,
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
        Some(SLOWLY),
    )
    .await
}

async fn slow_bodies(target: &Target) -> Result<(), String> {
    hold(target, SLOW, chat_head(1_000_000).as_bytes(), Some(SLOWLY)).await
}

async fn empty_messages_json(target: &Target) -> Result<(), String> {
    let messages = vec!["{}"; 350_000].join(",");
    let body = format!(r#"{{"model":"{MODEL}","messages":[{messages}]}}"#);
    again_and_again(target, 4, || target.chat(body.clone())).await
}

async fn empty_messages_protobuf(target: &Target) -> Result<(), String> {
    const AN_EMPTY_MESSAGE: [u8; 2] = [0x12, 0];
    let mut message = CreateChatCompletionRequest {
        model: MODEL.to_owned(),
        ..Default::default()
    }
    .encode_to_vec();
    message.extend(AN_EMPTY_MESSAGE.repeat(500_000));
    again_and_again(target, 4, || {
        target
            .grpc_web("featherwire.v1.ChatService/CreateChatCompletion", &message)
            .send()
    })
    .await
}

async fn large_prompts(target: &Target) -> Result<(), String> {
    let prompt = "x".repeat(LARGE_PROMPT_MIB * 1024 * 1024);
    let body =
        json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}]}).to_string();
    let calls = (0..LARGE_PROMPTS).map(|_| target.chat(body.clone()));
    for answer in futures_util::future::join_all(calls).await {
        fine(answer)?;
    }
    Ok(())
}

/// Almost a complete message of gRPC's usual size limit, and then nothing.
async fn bodies_without_a_key(target: &Target) -> Result<(), String> {
    const BYTES: usize = 4 * 1024 * 1024;
    let head = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
         application/grpc-web+proto\r\ncontent-length: {BYTES}\r\n\r\n"
    );
    let message = [
        &[0][..],
        &u32::try_from(BYTES - 5).unwrap().to_be_bytes(),
        &vec![0; BYTES - 100],
    ]
    .concat();
    hold(target, 100, &[head.as_bytes(), &message].concat(), None).await
}

async fn health_watches(target: &Target) -> Result<(), String> {
    let watch = |channel: Channel| async move {
        let request = HealthCheckRequest {
            service: String::new(),
        };
        let Ok(answers) = HealthClient::new(channel).watch(request).await else {
            return;
        };
        let mut answers = answers.into_inner();
        while let Ok(Some(_)) = answers.message().await {}
    };
    open_many(target, watch).await
}

async fn idle_reflection(target: &Target) -> Result<(), String> {
    let ask = |channel: Channel| async move {
        let list = MessageRequest::ListServices(String::new());
        let first = ServerReflectionRequest {
            message_request: Some(list),
            ..Default::default()
        };
        let requests = futures_util::StreamExt::chain(
            futures_util::stream::iter([first]),
            futures_util::stream::pending(),
        );
        let Ok(answers) = ServerReflectionClient::new(channel)
            .server_reflection_info(requests)
            .await
        else {
            return;
        };
        let mut answers = answers.into_inner();
        while let Ok(Some(_)) = answers.message().await {}
    };
    open_many(target, ask).await
}

/// Opens as many streams as the connections allow, without a key, until the time is over.
async fn open_many<F: Future<Output = ()>>(
    target: &Target,
    open: impl Fn(Channel) -> F,
) -> Result<(), String> {
    const CONNECTIONS: usize = 4;
    const STREAMS: usize = 500;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(
            target
                .endpoint()
                .connect()
                .await
                .map_err(|error| format!("no connection: {error}"))?,
        );
    }
    let streams = channels
        .iter()
        .cycle()
        .take(CONNECTIONS * STREAMS)
        .map(|channel| open(channel.clone()));
    let _ = timeout_at(target.until, futures_util::future::join_all(streams)).await;
    Ok(())
}

async fn unknown_models(target: &Target) -> Result<(), String> {
    again_and_again(target, 32, || {
        // Letters that most ids contain, different each time.
        let name: String = (0..240)
            .map(|_| char::from(*fastrand::choice(b"meta-lstruc38b").unwrap()))
            .collect();
        let messages = json!([{"role": "user", "content": "hi"}]);
        target.chat(json!({"model": format!("org/{name}"), "messages": messages}).to_string())
    })
    .await
}

/// Clients without a key that write a megabyte before they read. Each must receive the error.
async fn early_refusals(target: &Target) -> Result<(), String> {
    let head = chat_head(1_000_000).replace(KEY, "gw_live_wrong");
    let request = [head.as_bytes(), &vec![b' '; 1_000_000]].concat();
    while Instant::now() < target.until {
        let answers = (0..8).map(|_| exchange(target.address, &request, Duration::from_secs(5)));
        for answer in futures_util::future::join_all(answers).await {
            match answer {
                Ok(answer) if answer.starts_with("HTTP/1.1 401 ") => {}
                Ok(answer) => return Err(format!("not refused: {:?}", answer.lines().next())),
                Err(error) => return Err(format!("reset before the answer: {error}")),
            }
        }
    }
    Ok(())
}

async fn gzip_bombs(target: &Target) -> Result<(), String> {
    let bomb = wire::gzip_bomb(1 << 30);
    again_and_again(target, BOMBERS, || {
        let post = target
            .http
            .post(format!("{}/v1/chat/completions", target.url))
            .header("x-api-key", KEY);
        post.header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .body(bomb.clone())
            .send()
    })
    .await
}

async fn huge_heads(target: &Target) -> Result<(), String> {
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-huge: {}\r\n\r\n",
        "x".repeat(1_000_000)
    );
    while Instant::now() < target.until {
        let answers =
            (0..8).map(|_| exchange(target.address, head.as_bytes(), Duration::from_secs(5)));
        for answer in futures_util::future::join_all(answers)
            .await
            .into_iter()
            .flatten()
        {
            if answer.starts_with("HTTP/1.1 2") {
                return Err("a request head of 1 MB was accepted".to_owned());
            }
        }
    }
    Ok(())
}

/// Ambiguous requests, for which two parsers could find two ends, each with another request after
/// it. The other request must not be answered.
async fn smuggled_requests(target: &Target) -> Result<(), String> {
    const FRAMINGS: &[&str] = &[
        "content-length: 4\r\ncontent-length: 9\r\n",
        "content-length: 4, 9\r\n",
        "content-length: +4\r\n",
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "x: y\rtransfer-encoding: chunked\r\n",
        " transfer-encoding: chunked\r\n",
    ];
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for framing in FRAMINGS {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: \
             {KEY}\r\n{framing}\r\n"
        );
        let request = format!("{head}0\r\n\r\n{smuggled}");
        let answer = exchange(
            target.address,
            request.as_bytes(),
            Duration::from_millis(300),
        )
        .await
        .unwrap_or_default();
        // The error contains the unknown path.
        if answer.contains("/smuggled") {
            return Err(format!("{framing:?}: the request after it was answered"));
        }
    }
    Ok(())
}

async fn idle_connections(target: &Target) -> Result<(), String> {
    hold(target, 700, b"", None).await
}

/// Calls whose upstream sends endless informational responses. Each call must get an error long
/// before its timeout, with a limited processor time.
async fn endless_1xx(target: &Target) -> Result<(), String> {
    const TOLD_WITHIN: Duration = Duration::from_secs(10);
    const COST_MAX: Duration = Duration::from_millis(500);
    let used = target.numbers.processor_time();
    let mut calls = 0;
    // During the pause the connections close, because the upstream sends heads until then.
    while calls == 0 || Instant::now() < target.until {
        calls += 1;
        let body =
            json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let answer = timeout(TOLD_WITHIN, target.chat(body)).await;
        let status = answer
            .map_err(|_| "the call does not end")?
            .map_err(|error| error.to_string())?
            .status();
        if status != 502 {
            return Err(format!("the call ended with {status}"));
        }
        sleep(Duration::from_millis(250)).await;
    }
    let used = target.numbers.processor_time().saturating_sub(used);
    if used > COST_MAX * calls {
        return Err(format!("cores were busy with {calls} calls for {used:?}"));
    }
    Ok(())
}

/// The upstream of the misled gateway: it sends informational responses and never an answer.
pub async fn endless_heads(listener: TcpListener) {
    let heads = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
    while let Ok((mut stream, _)) = listener.accept().await {
        let heads = heads.clone();
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            while stream.write_all(&heads).await.is_ok() {}
        });
    }
}

/// `callers` callers send calls until the time is over. Each call must be answered.
async fn again_and_again<F>(
    target: &Target,
    callers: usize,
    call: impl Fn() -> F,
) -> Result<(), String>
where
    F: Future<Output = reqwest::Result<Response>>,
{
    let callers = (0..callers).map(|_| async {
        while Instant::now() < target.until {
            fine(call().await)?;
        }
        Ok(())
    });
    futures_util::future::try_join_all(callers).await.map(drop)
}

/// Accepts any answer, even a refusal, except an internal error of the gateway.
fn fine(answer: reqwest::Result<Response>) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status().as_u16() == 500 => Err("an internal error".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("no answer: {error:?}")),
    }
}

impl Target {
    fn chat(&self, body: String) -> impl Future<Output = reqwest::Result<Response>> + use<> {
        let post = self
            .http
            .post(format!("{}/v1/chat/completions", self.url))
            .header("x-api-key", KEY);
        post.header("content-type", "application/json")
            .body(body)
            .send()
    }

    fn grpc_web(&self, method: &str, message: &[u8]) -> reqwest::RequestBuilder {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let post = self
            .http
            .post(format!("{}/{method}", self.url))
            .header("x-api-key", KEY);
        post.header("content-type", "application/grpc-web+proto")
            .body([&[0], &length[..], message].concat())
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Channel::from_shared(self.url.clone()).unwrap()
    }
}
