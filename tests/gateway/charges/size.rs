//! What a call reserves: all that its request asks for, however the request says it.

use featherwire::proto::v1::{
    CreateCompletionRequest, completion_service_client::CompletionServiceClient,
};
use serde_json::json;
use tonic::Code;

use super::{Metered, budgets};
use crate::{
    key_limits::with_secret,
    support::{MODEL, Scripted, door::message, prompt, requests::extra, scripted::answer_with},
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
