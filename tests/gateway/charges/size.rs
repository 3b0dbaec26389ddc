//! What a call reserves: all that its request asks for, however the request says it.

use featherwire::proto::v1::{
    CreateCompletionRequest, completion_service_client::CompletionServiceClient,
};
use serde_json::{Value, json};
use tonic::Code;

use super::{Metered, budgets};
use crate::{
    key_limits::with_secret,
    support::{
        Door, MODEL, Scripted, door::message, prompt, requests::extra, rest::http,
        scripted::answer_with,
    },
};

async fn answering() -> Scripted {
    Scripted::always(answer_with(&json!({"role": "assistant", "content": "x"}))).await
}

#[tokio::test]
async fn what_a_grpc_caller_writes_into_extra_is_reserved_too() {
    let upstream = answering().await;
    let ask = async |amount, members: &[(&str, &str)]| {
        let key = Metered::new(&upstream, budgets(&[("tokens", amount)]), |_| {}).await;
        let mut request = message(&prompt(MODEL, "hi"));
        request.extra = extra(members);
        let request = with_secret(request, &key.secret);
        let mut client = key.gateway.grpc().await;
        let before = upstream.requests().len();
        let answer = client.create_chat_completion(request).await;
        let seen = upstream.requests().split_off(before).pop();
        (answer.map(|_| seen.unwrap().json()), key)
    };
    let many = [("n", "128"), ("max_tokens", "100")];
    let (refused, key) = ask(1000, &many).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    assert!(upstream.requests().is_empty());
    assert_eq!(key.budgets().await, [(0, 0)]);

    let (sent, key) = ask(5000, &many).await;
    let sent = sent.unwrap();
    assert_eq!(sent["n"], 128);
    let granted = sent["max_tokens"].as_u64().unwrap();
    assert!(granted >= 16 && granted * 128 < 5000, "{granted}");
    assert_eq!(key.budgets().await[0].1, 0, "the rest is free again");

    let (sent, _) = ask(5000, &[("n", "16"), ("max_completion_tokens", "1e2")]).await;
    assert_eq!(sent.unwrap()["max_completion_tokens"], 100, "it fits");
}

#[tokio::test]
async fn generations_and_prompts_in_extra_are_reserved_too() {
    let upstream = answering().await;
    let key = Metered::new(&upstream, budgets(&[("tokens", 300)]), |_| {}).await;
    let mut client = CompletionServiceClient::new(key.gateway.channel().await);
    for member in [
        ("best_of", "20".to_owned()),
        ("prompt", json!(vec!["a"; 128]).to_string()),
        ("prompt", format!("\"{}\"", "word ".repeat(400))),
    ] {
        let mut request = CreateCompletionRequest {
            model: MODEL.to_owned(),
            max_tokens: Some(20),
            extra: extra(&[(member.0, &member.1)]),
            ..CreateCompletionRequest::default()
        };
        if member.0 != "prompt" {
            request
                .extra
                .insert("prompt".to_owned(), "\"hi\"".to_owned());
        }
        let request = with_secret(request, &key.secret);
        let refused = client.create_completion(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{member:?}");
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(key.budgets().await, [(0, 0)]);
    // A request that is not valid reserves nothing either.
    let mut chat = message(&prompt(MODEL, "hi"));
    chat.extra = extra(&[("n", "\"many\"")]);
    let mut client = key.gateway.grpc().await;
    let refused = client.create_chat_completion(with_secret(chat, &key.secret));
    assert_eq!(refused.await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(key.budgets().await, [(0, 0)]);
}

#[tokio::test]
async fn a_prompt_reserves_a_token_for_each_digit() {
    let upstream = answering().await;
    let key = Metered::new(&upstream, budgets(&[("tokens", 1000)]), |_| {}).await;
    let with = |text: &str| {
        let mut request = prompt(MODEL, &text.repeat(300));
        request["max_tokens"] = 16.into();
        request
    };
    for door in [Door::RestUnary, Door::GrpcUnary] {
        for digits in ["12345", "größe"] {
            let refused = key.ask(door, &with(digits), &[]).await;
            assert_eq!(refused.failure.unwrap().code, "budget_exhausted");
        }
    }
    assert!(upstream.requests().is_empty());
    let words = key.ask(Door::RestUnary, &with("word "), &[]).await;
    assert!(words.failure.is_none(), "{words:?}");
}

#[tokio::test]
async fn the_larger_of_two_numbers_of_tokens_is_reserved() {
    let upstream = answering().await;
    let key = Metered::new(&upstream, budgets(&[("tokens", 1000)]), |_| {}).await;
    let mut request = prompt(MODEL, "hi");
    request["max_tokens"] = 16.into();
    request["max_completion_tokens"] = 5000.into();
    let answer = key.ask(Door::RestUnary, &request, &[]).await;
    assert!(answer.failure.is_none(), "{answer:?}");
    let sent = upstream.only_request().json();
    for name in ["max_tokens", "max_completion_tokens"] {
        assert!(sent[name].as_u64().unwrap() < 1000, "{sent}");
    }
}

#[tokio::test]
async fn a_budget_that_is_large_enough_changes_no_request() {
    let upstream = answering().await;
    upstream.set_catalogue(json!({"object": "list", "data": [
        {"id": MODEL, "object": "model", "max_completion_tokens": 300},
    ]}));
    let key = Metered::new(&upstream, budgets(&[("tokens", 2000)]), |_| {}).await;
    let post = async |path: &str, request: &Value| {
        let post = key.gateway.post_request(path, request);
        let answer = post.bearer_auth(&key.secret).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = answer.headers().get("x-featherwire-max-tokens").cloned();
        let sent = upstream.requests().pop().unwrap().json();
        (sent["max_tokens"].as_u64(), header.is_some())
    };
    // The default is 16 for every model.
    let text = json!({"model": MODEL, "prompt": "hi"});
    assert_eq!(post("/v1/completions", &text).await, (None, false));

    // Nobody says how much the model generates.
    let chat = prompt(MODEL, "hi");
    let (unknown, is_told) = post("/v1/chat/completions", &chat).await;
    assert!(unknown.unwrap() > 1000 && is_told, "{unknown:?}");
    let models = http().get(key.gateway.url("/v1/models"));
    let models = models.bearer_auth(&key.secret).send().await.unwrap();
    assert_eq!(models.status(), 200);
    assert_eq!(post("/v1/chat/completions", &chat).await, (None, false));
}
