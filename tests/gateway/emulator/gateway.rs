//! The faults behind a real gateway: every call ends with an answer or an error, and leaves nothing
//! behind.

use std::time::Duration;

use featherwire::emulator::{EmulatorConfig, FAULTS};
use serde_json::json;

use crate::support::{Door, Emulator, Gateway, MODEL, PATIENCE, prompt, rest::http};

#[tokio::test]
async fn every_fault_ends_behind_the_gateway_and_the_next_call_is_answered() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.upstream.first_token_timeout = Duration::from_millis(300);
        config.upstream.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let patient = Gateway::to(emulator.address).await;
    for is_streamed in [false, true] {
        for fault in FAULTS {
            let mut ask = prompt(fault.model, "Say hello in 5 words");
            ask["stream"] = json!(is_streamed);
            let call = async {
                gateway
                    .post("/v1/chat/completions", &ask)
                    .await
                    .bytes()
                    .await
                    .unwrap()
            };
            let answer = tokio::time::timeout(PATIENCE, call).await;
            assert!(
                !answer
                    .unwrap_or_else(|_| panic!("{} hangs", fault.model))
                    .is_empty(),
                "{}",
                fault.model
            );
        }
        patient
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .ok();
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn what_the_catalogue_refuses_is_refused_through_the_gateway() {
    let config = EmulatorConfig {
        tokens_per_second: 0.0,
        models: 400,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::with(config).await;
    let gateway = Gateway::to(emulator.address).await;
    let list = http()
        .get(gateway.url("/v1/models"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let id_of = |matches: &dyn Fn(&serde_json::Value) -> bool| {
        let found = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|model| matches(model));
        found.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let off_plan = id_of(&|model| model["available_on_current_plan"] == false);
    let cold = id_of(&|model| {
        model["availability"]["tier"] == "cold"
            && model["available_on_current_plan"] == true
            && model["is_gated"] == false
    });
    for door in Door::ALL {
        gateway
            .ask(door, &prompt(&off_plan, "hi"))
            .await
            .failed(featherwire::error::Kind::Forbidden, "model_not_on_plan");
        gateway
            .ask(door, &prompt(&cold, "hi"))
            .await
            .failed(featherwire::error::Kind::NotReady, "model_not_ready");
    }
    let body = json!({"model": MODEL, "input": "x"}).to_string();
    assert_eq!(gateway.post("/v1/embeddings", body).await.status(), 400);
    emulator.wait_until_idle().await;
}
