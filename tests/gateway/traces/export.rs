//! A collector that is busy, or gone.

use std::time::Duration;

use featherwire::config::Given;

use super::{TRACE_ID, parent, traced, traced_gateway};
use crate::support::{
    Collector, Door, Emulator, Gateway, MODEL, poll, program::serve_with_log, prompt, rest::http,
};
#[tokio::test]
async fn a_busy_collector_gets_a_batch_again_and_the_drain_sends_the_last_spans() {
    let collector = Collector::start().await;
    let emulator = Emulator::start().await;
    let gateway = traced_gateway(emulator.address, &collector).await;
    collector.refuse(Some(503));
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    collector
        .until("it has refused it again", |taken| taken.refused > 2)
        .await;
    collector.refuse(None);
    assert_eq!(collector.wait_for(2).await.len(), 2);
    gateway.stop().await;

    let gateway = Gateway::with(emulator.address, |config| {
        traced(config, &collector);
        config.tracing.trace_delay = Given::Value(Duration::from_secs(3600));
    })
    .await;
    gateway
        .ask(Door::GrpcStream, &prompt(MODEL, "hi"))
        .await
        .ok();
    gateway.stop().await;
    assert_eq!(collector.taken().spans().len(), 4);
}

#[tokio::test]
async fn calls_go_on_without_the_collector_and_the_log_says_so_once() {
    let free = Collector::start().await;
    let address = free.address;
    drop(free);
    let url = format!("http://{address}");
    let (_program, gateway, mut log) = serve_with_log(&[
        "--emulator",
        "--tokens-per-second",
        "0",
        "--otlp-endpoint",
        &url,
        "--trace-delay",
        "1ms",
        "--trace-export-timeout",
        "1s",
    ])
    .await;
    let ask = async || {
        let request = prompt(MODEL, "hi").to_string();
        let url = format!("{gateway}/v1/chat/completions");
        let post = http().post(url).header("content-type", "application/json");
        let post = post.header("traceparent", parent("01")).body(request);
        let asked = post.send().await.unwrap();
        assert_eq!(asked.status(), 200);
    };
    let lost = async || {
        let metrics = http().get(format!("{gateway}/metrics")).send().await;
        let metrics = metrics.unwrap().text().await.unwrap();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("featherwire_trace_spans_lost_total "));
        line.unwrap().parse::<f64>().unwrap()
    };
    ask().await;
    poll::until("spans are lost", async || lost().await >= 2.0).await;
    ask().await;
    poll::until("more spans are lost", async || lost().await >= 4.0).await;
    let collector = poll::find("it listens again", async || {
        Some(Collector::at(address).await)
    })
    .await;
    ask().await;
    assert_eq!(collector.wait_for(2).await.len(), 2);
    let mut lines = Vec::new();
    while !lines
        .iter()
        .any(|line: &String| line.contains("takes spans again"))
    {
        lines.push(log.recv().await.unwrap());
    }
    let warnings: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(" WARN "))
        .collect();
    assert_eq!(warnings.len(), 1, "{lines:?}");
    assert!(
        warnings[0].contains("spans=2") && warnings[0].contains("refused"),
        "{warnings:?}"
    );
    let called = lines
        .iter()
        .filter(|line| line.contains(" call method=POST"));
    for line in called {
        assert!(line.contains(&format!("trace_id={TRACE_ID}")), "{line}");
    }
}
