//! How calls end before their answer is complete.

use featherwire::emulator::EmulatorConfig;
use serde_json::{Value, json};

use super::{CHAT, STREAM, post, told};
use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted,
    connect::{envelope, envelopes},
    prompt,
    rest::http,
    scripted::chunk,
};

fn request() -> String {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).to_string()
}

#[tokio::test]
async fn the_callers_timeout_ends_a_call_and_closes_upstream() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let timeout = [("connect-timeout-ms", "200")];
    for is_http2 in [false, true] {
        let of = (CHAT, "application/json");
        let answer = post(&gateway, is_http2, of, &timeout, request()).await;
        let (code, reason, _) = super::error_of(&answer, 504);
        assert_eq!(
            (&*code, &*reason),
            ("deadline_exceeded", "deadline_exceeded")
        );
        upstream.wait_until_idle().await;
        upstream.set_reply(Reply::EventsThenSilence(vec![chunk("half")]));
        let of = (STREAM, "application/connect+json");
        let body = envelope(0, request().as_bytes());
        let answer = post(&gateway, is_http2, of, &timeout, body).await;
        let (messages, end) = envelopes(&answer.body);
        assert_eq!(
            (messages.len(), &*told(&end["error"]).0),
            (1, "deadline_exceeded")
        );
        upstream.wait_until_idle().await;
        upstream.set_reply(Reply::Silence);
    }
    let passed = [("connect-timeout-ms", "0")];
    let before = upstream.requests().len();
    let answer = post(
        &gateway,
        false,
        (CHAT, "application/json"),
        &passed,
        request(),
    )
    .await;
    assert_eq!(super::error_of(&answer, 504).0, "deadline_exceeded");
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn a_stream_that_upstream_cuts_ends_with_an_error_after_its_messages() {
    let cut = Reply::EventsThenCut(vec![chunk("one"), chunk("two")]);
    let upstream = Scripted::always(cut).await;
    let gateway = Gateway::to(upstream.address).await;
    for (codec, body) in [
        ("json", request().into_bytes()),
        (
            "proto",
            prost::Message::encode_to_vec(&crate::support::door::message(&prompt(MODEL, "hi"))),
        ),
    ] {
        for is_http2 in [false, true] {
            let of = format!("application/connect+{codec}");
            let answer = post(&gateway, is_http2, (STREAM, &of), &[], envelope(0, &body)).await;
            let (messages, end) = envelopes(&answer.body);
            assert_eq!(messages.len(), 2);
            let (code, reason, _) = told(&end["error"]);
            assert_eq!((&*code, &*reason), ("unavailable", "upstream_stream_cut"));
        }
    }
}

#[tokio::test]
async fn a_caller_who_leaves_closes_upstream_and_gives_the_units_back() {
    let emulator = Emulator::with(EmulatorConfig {
        tokens_per_second: 20.0,
        ..EmulatorConfig::default()
    })
    .await;
    let gateway = Gateway::with(emulator.address, |config| config.units.units = None).await;
    let mut long: Value = serde_json::from_str(&request()).unwrap();
    long["maxTokens"] = 10_000.into();
    let mut response = http()
        .post(gateway.url(STREAM))
        .header("content-type", "application/connect+json")
        .body(envelope(0, long.to_string().as_bytes()))
        .send()
        .await
        .unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    emulator.wait_until_idle().await;
    gateway
        .wait_for_units("nothing runs", |view| {
            view["running"] == 0 || view["running"].is_null()
        })
        .await;
    gateway
        .ask(Door::ConnectStream, &prompt(MODEL, "hi"))
        .await
        .ok();
    // A unary call too.
    let call = http()
        .post(gateway.url(CHAT))
        .header("content-type", "application/json")
        .body(long.to_string());
    let call = tokio::spawn(call.send());
    crate::support::poll::until("the call runs", async || {
        gateway.units("any").await["granted_units"] != 0
    })
    .await;
    call.abort();
    emulator.wait_until_idle().await;
}
