//! Measures the codec and the catalogue: the time with criterion, and the allocations and memory,
//! which are printed first.
//!
//! `cargo bench --bench codec`

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking"
)]

use std::{alloc::System, hint::black_box};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use featherwire::{
    emulator::{self, EmulatorConfig},
    json,
    proto::v1::{CreateChatCompletionRequest, ModelFilter, StreamChatCompletionResponse},
    upstream::catalogue::Snapshot,
};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A chunk as Featherless sends it: 226 bytes.
const CHUNK: &str = concat!(
    r#"{"id":"chatcmpl-8f1c2d3e4b5a69788796a5b4c3d2e1f0","object":"chat.completion.chunk","#,
    r#""created":1776783127,"model":"meta-llama/Meta-Llama-3.1-8B-Instruct","choices":[{"#,
    r#""index":0,"delta":{"content":" hello"},"finish_reason":null}]}"#,
);

const CHUNK_WITH_LOGPROBS: &str = concat!(
    r#"{"id":"chatcmpl-8f1c2d3e4b5a69788796a5b4c3d2e1f0","object":"chat.completion.chunk","#,
    r#""created":1776783127,"model":"meta-llama/Meta-Llama-3.1-8B-Instruct","choices":[{"#,
    r#""index":0,"delta":{"content":" hello"},"logprobs":{"content":[{"token":" hello","#,
    r#""logprob":-0.0023041567765176296,"bytes":[32,104,101,108,108,111],"top_logprobs":[{"#,
    r#""token":" hello","logprob":-0.0023041567765176296,"bytes":[32,104,101,108,108,111]},{"#,
    r#""token":" hi","logprob":-6.752304077148438,"bytes":[32,104,105]},{"token":" hey","#,
    r#""logprob":-8.252304077148438,"bytes":[32,104,101,121]},{"token":" greetings","#,
    r#""logprob":-11.002304077148438,"bytes":[32,103,114,101,101,116,105,110,103,115]},{"#,
    r#""token":"\n","logprob":-14.627304077148438,"bytes":[10]}]}],"refusal":null},"#,
    r#""finish_reason":null}]}"#,
);

const REQUEST_WITH_TOOLS: &str = concat!(
    r#"{"model":"meta-llama/Meta-Llama-3.1-8B-Instruct","messages":[{"role":"system","#,
    r#""content":"You look things up before you answer."},{"role":"user","#,
    r#""content":"What is the weather in Oslo and in Lima?"},{"role":"assistant","content":null,"#,
    r#""tool_calls":[{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{"#,
    r#"\"city\":\"Oslo\"}"}},{"id":"call_b","type":"function","function":{"name":"weather","#,
    r#""arguments":"{\"city\":\"Lima\"}"}}]},{"role":"tool","tool_call_id":"call_a","#,
    r#""content":"4 degrees, rain"},{"role":"tool","tool_call_id":"call_b","content":"19 degrees,"#,
    r#" sun"}],"tools":[{"type":"function","function":{"name":"weather","#,
    r#""description":"The weather now","parameters":{"type":"object","properties":{"city":{"#,
    r#""type":"string"},"unit":{"type":"string","enum":["celsius","fahrenheit"]}},"#,
    r#""required":["city"]}}},{"type":"function","function":{"name":"search","#,
    r#""description":"Searches the web","parameters":{"type":"object","properties":{"query":{"#,
    r#""type":"string"},"results":{"type":"integer","minimum":1}},"required":["query"]}}}],"#,
    r#""tool_choice":"auto","temperature":0.7,"top_p":0.95,"max_tokens":512,"#,
    r#""chat_template_kwargs":{"enable_thinking":false}}"#,
);

const MODELS: usize = 22_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    round::<StreamChatCompletionResponse>(&mut criterion, "chunk", CHUNK);
    round::<StreamChatCompletionResponse>(
        &mut criterion,
        "chunk with logprobs",
        CHUNK_WITH_LOGPROBS,
    );
    round::<CreateChatCompletionRequest>(&mut criterion, "request with tools", REQUEST_WITH_TOOLS);
    catalogue(&mut criterion);
    criterion.final_summary();
}

/// Measures the conversions of a message: from JSON to JSON, and the same with protobuf in between.
fn round<M: Message + Default + Serialize + DeserializeOwned>(
    criterion: &mut Criterion,
    name: &str,
    text: &str,
) {
    let decode = || json::decode_answer::<M>(black_box(text.as_bytes())).unwrap();
    let encode = |message: &M, out: &mut Vec<u8>| {
        out.clear();
        json::encode_answer(black_box(message), out).unwrap();
    };
    let through_protobuf = |out: &mut Vec<u8>| {
        let wire = decode().encode_to_vec();
        encode(&M::decode(black_box(&*wire)).unwrap(), out);
    };
    let mut out = Vec::with_capacity(8 * 1024);
    let message = decode();
    println!(
        "{name}: {} bytes as JSON, {} as protobuf",
        text.len(),
        message.encoded_len()
    );
    println!("  decode: {}", allocations(|| drop(decode())));
    println!("  encode: {}", allocations(|| encode(&message, &mut out)));
    println!(
        "  JSON to message to protobuf to message to JSON: {}",
        allocations(|| through_protobuf(&mut out))
    );

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("decode", |bencher| bencher.iter(decode));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(&message, &mut out))
    });
    group.bench_function("decode and encode", |bencher| {
        bencher.iter(|| encode(&decode(), &mut out))
    });
    group.bench_function("with protobuf between", |bencher| {
        bencher.iter(|| through_protobuf(&mut out))
    });
    group.finish();
}

fn allocations(work: impl FnOnce()) -> String {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    format!(
        "{} allocations and {} reallocations, {} bytes in total",
        change.allocations, change.reallocations, change.bytes_allocated
    )
}

fn catalogue(criterion: &mut Criterion) {
    let answer = catalogue_of_the_emulator();
    let region = Region::new(ALLOCATOR);
    let copy = Snapshot::new(&answer, &featherwire::upstream::ModelNames::default()).unwrap();
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    println!(
        "catalogue: {} models, {} in the upstream's answer",
        copy.len(),
        mebibytes(answer.len())
    );
    println!(
        "  holds {} in {} allocations",
        mebibytes(held),
        change.allocations - change.deallocations
    );
    println!(
        "  allocates {} while it is built",
        mebibytes(change.bytes_allocated)
    );

    // One text that most ids contain, for a full page, and one for which the complete catalogue
    // is searched.
    let common = ModelFilter {
        search: "A".to_owned(),
        ..ModelFilter::default()
    };
    let rare = ModelFilter {
        search: "llama-3.1-405b".to_owned(),
        ..ModelFilter::default()
    };
    for (name, filter) in [("common", &common), ("rare", &rare)] {
        let page = copy.page(filter, |_| true, None, 100);
        println!(
            "  search for {name} text: a page of {} out of {}",
            page.models.len(),
            page.total
        );
        println!(
            "    {}",
            allocations(|| drop(copy.page(filter, |_| true, None, 100)))
        );
    }
    let mut group = criterion.benchmark_group("catalogue");
    group.bench_function("page of 100, common text", |bencher| {
        bencher.iter(|| copy.page(black_box(&common), |_| true, None, 100))
    });
    group.bench_function("page, rare text", |bencher| {
        bencher.iter(|| copy.page(black_box(&rare), |_| true, None, 100))
    });
    suggest(&mut group, &copy);
    group.sample_size(10);
    group.bench_function("snapshot built from the answer", |bencher| {
        bencher.iter_batched(
            || answer.clone(),
            |answer| Snapshot::new(&answer, &featherwire::upstream::ModelNames::default()).unwrap(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Measures the search for ids similar to an unknown id. Each search has another id, because
/// results are cached.
fn suggest(group: &mut BenchmarkGroup<'_, WallTime>, copy: &Snapshot) {
    let slip = |n: u32| format!("meta-lama/Meta-Llama-3.{n}-8B-Instuct");
    println!("  near {}: {:?}", slip(1), copy.suggestions(&slip(1)));
    let common = |n: u32| {
        format!(
            "x{n}/llama-3.1-8b-instruct-qwen2.\
             5-7b-chat-gguf-mistral-nemo-12b-lora-v2-awq-gemma-2-9b"
        )
    };
    let long = |n: u32, letters: usize| {
        format!("x{n}/{}", "llama-3.1-8b-instruct-".repeat(letters / 22 + 1))
    };
    let mut row = |name: &str, id: &dyn Fn(u32) -> String| {
        let mut n = 1;
        group.bench_function(format!("suggestions for {name}"), |bencher| {
            bencher.iter_batched(
                || {
                    n += 1;
                    id(n)
                },
                |id| copy.suggestions(black_box(&id)),
                BatchSize::SmallInput,
            );
        });
    };
    row("a slip", &slip);
    row("nearly everything", &common);
    row("250 letters", &|n| long(n, 250));
    row("10 KB", &|n| long(n, 10 * 1024));
}

#[allow(clippy::cast_precision_loss, reason = "only for display")]
fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// The emulator's answer, received over a socket.
fn catalogue_of_the_emulator() -> Bytes {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = EmulatorConfig {
            models: MODELS,
            ..EmulatorConfig::default()
        };
        tokio::spawn(emulator::serve(listener, config, std::future::pending()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let ask = "GET /v1/models HTTP/1.0\r\nhost: emulator\r\nauthorization: Bearer any\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let head = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.0 200"),
            "{}",
            String::from_utf8_lossy(answer.get(..head).unwrap())
        );
        Bytes::from(answer).slice(head + 4..)
    })
}
