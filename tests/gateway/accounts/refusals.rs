//! What an upstream refuses one account: its key, its plan, or a model.

use std::time::Duration;

use featherwire::{config::Account, emulator::EmulatorConfig, error::Kind};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    CIRCUIT_WAIT, account, fixed, gateway, gauge, in_use, limited_to, upstream, wait_for_plans,
};
use crate::support::{
    Door, Emulator, MODEL, advance,
    models::{FALLBACK, FIRST, SECOND},
    prompt,
    rest::status_and_json,
    scripted::{answer_for, refused},
};

#[tokio::test]
async fn a_refusal_of_an_account_is_not_seen_and_closes_only_this_account_until_a_probe() {
    let refusals = [
        (401, "invalid_api_key", "Invalid API key"),
        (402, "payment_required", "Payment required"),
        (403, "forbidden", "Your plan has no API access"),
    ];
    for (status, code, message) in refusals {
        for door in Door::ALL {
            let refusing = upstream(refused(status, code, message)).await;
            let working = upstream(answer_for(door)).await;
            let preferred = Account {
                weight: 100,
                ..fixed("refused", refusing.address, 8)
            };
            let gateway = gateway([preferred, fixed("works", working.address, 8)]).await;
            for _ in 0..2 {
                let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
                assert_eq!(answer.tried, None, "{status} {door:?}");
            }
            assert_eq!(refusing.models(), [MODEL], "{status} {door:?}");
            assert_eq!(working.models().len(), 2, "{status} {door:?}");
            let is_refused = async |name: &str| {
                let account = format!("account=\"{name}\"");
                gauge(&gateway, "featherwire_account_refused", &account).await
            };
            assert_eq!(is_refused("refused").await, Some(1.0));
            assert_eq!(is_refused("works").await, Some(0.0));
            // A probe that is refused is not seen either, and the wait is twice as long.
            advance(CIRCUIT_WAIT).await;
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(refusing.models().len(), 2, "{status} {door:?}");
            advance(CIRCUIT_WAIT).await;
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(refusing.models().len(), 2, "{status} {door:?}");
            refusing.set_reply(answer_for(door));
            advance(CIRCUIT_WAIT).await;
            for _ in 0..2 {
                gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            }
            assert_eq!(refusing.models().len(), 4, "{status} {door:?}");
            assert_eq!(is_refused("refused").await, Some(0.0));
            assert_eq!(in_use(&gateway, ["refused", "works"]).await, [0.0, 0.0]);
        }
    }
}

#[tokio::test]
async fn emulators_with_another_key_and_with_a_plan_without_access_are_left_out() {
    let with_key = |key: Option<&str>| EmulatorConfig {
        tokens_per_second: 0.0,
        api_key: key.map(str::to_owned),
        ..EmulatorConfig::default()
    };
    let other_key = Emulator::with(with_key(Some("another"))).await;
    let working = Emulator::with(with_key(None)).await;
    let no_access = Account {
        featherless_api_key: Some(SecretString::from("no-plan-access")),
        ..account("no-access", working.address)
    };
    let accounts = [
        account("other-key", other_key.address),
        no_access,
        account("works", working.address),
    ];
    let gateway = gateway(accounts).await;
    wait_for_plans(&gateway, &[("works", 8.0)]).await;
    for door in Door::ALL {
        gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
    }
    let embedding = json!({"model": "Qwen/Qwen3-Embedding-8B", "input": "text"});
    let (_, models) = gateway.get_json("/v1/models").await;
    let ids = models["data"].as_array().unwrap().iter();
    let ids: Vec<_> = ids.map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&MODEL), "{ids:?}");
    let (status, answer) = gateway.post_json("/v1/embeddings", &embedding).await;
    assert_eq!(status, 200, "{answer}");
    let text = json!({"model": MODEL, "prompt": "hi"});
    let (status, answer) = gateway.post_json("/v1/completions", &text).await;
    assert_eq!(status, 200, "{answer}");
    let text = json!({"model": MODEL, "text": "hi"});
    let (status, answer) = gateway.post_json("/v1/tokenize", &text).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn the_only_account_and_the_only_one_with_the_model_show_their_own_refusal() {
    let refusing = upstream(refused(401, "", "Invalid API key")).await;
    let only = gateway([fixed("only", refusing.address, 8)]).await;
    let working = upstream(answer_for(Door::RestUnary)).await;
    let other = limited_to(&["other/*"], fixed("other", working.address, 8));
    let only_with_model = gateway([fixed("main", refusing.address, 8), other]).await;
    for gateway in [only, only_with_model] {
        for door in Door::ALL {
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
            answer.failed(Kind::Misconfigured, "featherless_api_key_rejected");
        }
    }
    assert_eq!(refusing.models().len(), 2 * Door::ALL.len());
}

#[tokio::test]
async fn if_all_accounts_are_refused_the_caller_sees_it_and_later_calls_wait_for_the_probe() {
    let refusing = upstream(refused(401, "", "Invalid API key")).await;
    let names = ["one", "two"].map(|name| fixed(name, refusing.address, 8));
    let gateway = gateway(names).await;
    let first = gateway.ask(Door::GrpcUnary, &prompt(MODEL, "hi")).await;
    first.failed(Kind::Misconfigured, "featherless_api_key_rejected");
    let later = gateway.ask(Door::GrpcUnary, &prompt(MODEL, "hi")).await;
    let failure = later.failed(Kind::Unavailable, "circuit_open");
    assert!(failure.message.contains("account one"), "{failure:?}");
    assert!(failure.retry_after_seconds.is_some(), "{failure:?}");
    assert_eq!(refusing.models().len(), 2);
}

#[tokio::test]
async fn a_gated_model_goes_where_its_licence_is_and_other_models_stay() {
    for door in Door::ALL {
        let gating = upstream(answer_for(door)).await;
        let message = "This is a gated model";
        gating.set_reply_for_model(Some((FIRST, refused(403, "model_gated", message))));
        let licensed = upstream(answer_for(door)).await;
        let preferred = Account {
            weight: 100,
            ..fixed("gating", gating.address, 8)
        };
        let gateway = gateway([preferred, fixed("licensed", licensed.address, 8)]).await;
        for model in [FIRST, FIRST, SECOND] {
            let answer = gateway.ask(door, &prompt(model, "hi")).await.ok();
            assert_eq!(answer.tried, None, "{door:?}");
        }
        assert_eq!(gating.models(), [FIRST, SECOND], "{door:?}");
        assert_eq!(licensed.models(), [FIRST, FIRST], "{door:?}");
        // It is asked again after a time.
        gating.set_reply_for_model(None);
        advance(Duration::from_secs(600)).await;
        gateway.ask(door, &prompt(FIRST, "hi")).await.ok();
        assert_eq!(gating.models().len(), 3, "{door:?}");
    }
}

#[tokio::test]
async fn a_model_that_every_account_lacks_the_licence_for_says_so() {
    let gating = upstream(refused(403, "model_gated", "This is a gated model")).await;
    let names = ["one", "two"].map(|name| fixed(name, gating.address, 8));
    let gateway = gateway(names).await;
    for asked in [2, 4] {
        let answer = gateway.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
        answer.failed(Kind::Forbidden, "model_gated");
        assert_eq!(gating.models().len(), asked);
    }
    // A fallback is the way out, as with one account.
    gating.set_reply_for_model(Some((SECOND, answer_for(Door::RestUnary))));
    let request = prompt(FIRST, "hi");
    let answer = gateway.ask_with(Door::RestUnary, &request, &[(FALLBACK, SECOND)]);
    assert_eq!(answer.await.ok().served_by.as_deref(), Some(SECOND));
}

#[tokio::test]
async fn a_refusal_that_may_be_about_the_request_is_asked_of_one_account_only() {
    let refusing = upstream(refused(403, "", "We do not answer this")).await;
    let working = upstream(answer_for(Door::RestUnary)).await;
    let preferred = Account {
        weight: 100,
        ..fixed("first", refusing.address, 8)
    };
    let gateway = gateway([preferred, fixed("second", working.address, 8)]).await;
    for reply in [403, 400] {
        refusing.set_reply(refused(reply, "", "We do not answer this"));
        for _ in 0..2 {
            let answer = gateway.ask(Door::RestUnary, &prompt(MODEL, "hi")).await;
            assert!(answer.failure.is_some());
        }
    }
    assert_eq!((refusing.models().len(), working.models().len()), (4, 0));
}

#[tokio::test]
async fn the_key_of_no_account_is_in_an_error() {
    let refusing = upstream(refused(401, "", "Invalid API key s3cr3t-one")).await;
    let with_key = |name: &str| Account {
        featherless_api_key: Some(SecretString::from(format!("s3cr3t-{name}"))),
        ..fixed(name, refusing.address, 8)
    };
    let gateway = gateway([with_key("one"), with_key("two")]).await;
    for _ in 0..2 {
        let post = gateway
            .post("/v1/chat/completions", prompt(MODEL, "hi"))
            .await;
        let (_, answer): (u16, Value) = status_and_json(post).await;
        assert!(!answer.to_string().contains("s3cr3t"), "{answer}");
    }
}

#[tokio::test]
async fn a_fallback_at_another_account_answers_for_a_refused_one() {
    for door in Door::ALL {
        let refusing = upstream(refused(401, "", "Invalid API key")).await;
        let working = upstream(answer_for(door)).await;
        let accounts = [
            limited_to(&[FIRST], fixed("main", refusing.address, 8)),
            limited_to(&[SECOND], fixed("works", working.address, 8)),
        ];
        let gateway = gateway(accounts).await;
        for _ in 0..2 {
            let request = prompt(FIRST, "hi");
            let answer = gateway.ask_with(door, &request, &[(FALLBACK, SECOND)]);
            let served_by = answer.await.ok().served_by;
            assert_eq!(served_by.as_deref(), Some(SECOND), "{door:?}");
        }
        // Without a fallback the caller sees the refusal.
        let answer = gateway.ask(door, &prompt(FIRST, "hi")).await;
        answer.failed(Kind::Misconfigured, "featherless_api_key_rejected");
    }
}

#[tokio::test]
async fn the_only_account_whose_list_has_the_model_shows_its_own_refusal_each_time() {
    let one = upstream(refused(401, "", "Invalid API key")).await;
    let two = upstream(refused(401, "", "Invalid API key")).await;
    for (upstream, model) in [(&one, FIRST), (&two, SECOND)] {
        upstream.set_catalogue(json!({"object": "list", "data": [{"id": model}]}));
    }
    let accounts = [fixed("one", one.address, 8), fixed("two", two.address, 8)];
    let gateway = gateway(accounts).await;
    for model in [FIRST, SECOND, FIRST, SECOND] {
        let answer = gateway.ask(Door::RestUnary, &prompt(model, "hi")).await;
        answer.failed(Kind::Misconfigured, "featherless_api_key_rejected");
    }
    assert_eq!((one.models().len(), two.models().len()), (2, 2));
}
