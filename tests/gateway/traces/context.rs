//! The context of a trace: whether it is recorded, and what the upstream gets of it.

use serde_json::json;

use super::{CALLERS_SPAN, TRACE_ID, of_call, parent, traced, traced_gateway};
use crate::support::{
    Collector, Door, Emulator, Gateway, MODEL, Reply, Scripted, collector::hex, prompt, rest::http,
    scripted::whole,
};
#[tokio::test]
async fn a_call_that_is_not_recorded_leaves_nothing() {
    let collector = Collector::start().await;
    let emulator = Emulator::start().await;
    let gateway = traced_gateway(emulator.address, &collector).await;
    for door in Door::ALL {
        let headers = [("traceparent", &*parent("00"))];
        gateway
            .ask_with(door, &prompt(MODEL, "hi"), &headers)
            .await
            .ok();
    }
    // Probes have no spans.
    for path in ["/healthz", "/readyz"] {
        let answer = http().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    // The only span is that of the call with a context that is not valid: a new trace.
    let headers = [("traceparent", &*parent("01").to_uppercase())];
    let request = json!({"model": MODEL});
    let answer = gateway.ask_with(Door::GrpcUnary, &request, &headers).await;
    assert!(answer.failure.is_some(), "no messages");
    let spans = collector.wait_for(1).await;
    gateway.stop().await;
    assert_eq!(collector.taken().spans().len(), 1);
    assert_ne!(hex(&spans[0].trace_id), TRACE_ID);
    assert!(spans[0].parent_span_id.is_empty());
    assert!(spans[0].trace_id.iter().any(|byte| *byte != 0));
}

#[tokio::test]
async fn upstream_gets_the_context_only_with_the_option_and_never_the_baggage() {
    for passes_on in [false, true] {
        for flags in ["00", "01"] {
            let collector = Collector::start().await;
            let upstream = Scripted::always(Reply::Json(200, whole("hi"))).await;
            let gateway = Gateway::with(upstream.address, |config| {
                traced(config, &collector);
                config.tracing.trace_upstream = passes_on;
            })
            .await;
            let headers = [
                ("traceparent", &*parent(flags)),
                ("tracestate", "a=1"),
                ("baggage", "user=x"),
            ];
            let request = prompt(MODEL, "hi");
            gateway
                .ask_with(Door::RestUnary, &request, &headers)
                .await
                .ok();
            let seen = upstream.only_request();
            assert_eq!(seen.header("baggage"), None);
            assert_eq!(seen.header("tracestate"), passes_on.then_some("a=1"));
            assert_eq!(seen.header("traceparent").is_some(), passes_on);
            if let Some(sent) = seen.header("traceparent") {
                let parts: Vec<_> = sent.split('-').collect();
                assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE_ID, flags));
                assert_ne!(parts[2], CALLERS_SPAN);
                if flags == "01" {
                    let spans = collector.wait_for(2).await;
                    let (_, attempts) = of_call(&spans);
                    assert_eq!(parts[2], hex(&attempts[0].span_id));
                }
            }
            gateway.stop().await;
            let spans = collector.taken().spans().len();
            assert_eq!(spans, if flags == "01" { 2 } else { 0 });
        }
    }
}
