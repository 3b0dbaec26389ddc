//! Invalid requests, each refused with a reason and the path of the problem.

use featherwire::emulator::EmulatorConfig;
use serde_json::{Value, json};

use super::support::{EMBEDDING_MODEL, MODEL, Peer, ask, ask_model, with};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn every_bad_member_is_refused_by_its_path() {
    let peer = Peer::start().await;
    let message = |message: Value| json!({ "messages": [message] });
    let bad = [
        ("provider", json!({"provider": "featherless"})),
        ("model", json!({"model": null})),
        ("model", json!({"model": 5})),
        ("messages", json!({"messages": []})),
        ("messages", json!({"messages": "hello"})),
        ("messages[0]", json!({"messages": ["hello"]})),
        (
            "messages[0].role",
            message(json!({"role": "robot", "content": "x"})),
        ),
        ("messages[0].content", message(json!({"role": "user"}))),
        (
            "messages[0].content",
            message(json!({"role": "system", "content": null})),
        ),
        (
            "messages[0].content",
            message(json!({"role": "user", "content": 5})),
        ),
        (
            "messages[0].content[0].text",
            message(json!({"role": "user", "content": [{"type": "text"}]})),
        ),
        (
            "messages[0].tool_call_id",
            message(json!({"role": "tool", "content": "x"})),
        ),
        (
            "messages[0].tool_calls",
            message(json!({"role": "assistant", "content": "x", "tool_calls": null})),
        ),
        ("temperature", json!({"temperature": 2.1})),
        ("temperature", json!({"temperature": "hot"})),
        ("top_p", json!({"top_p": 0})),
        ("min_p", json!({"min_p": 1.5})),
        ("top_k", json!({"top_k": -2})),
        ("presence_penalty", json!({"presence_penalty": -3})),
        ("frequency_penalty", json!({"frequency_penalty": 3})),
        ("n", json!({"n": 0})),
        ("max_tokens", json!({"max_tokens": 0})),
        ("max_tokens", json!({"max_tokens": 16.0})),
        ("stop", json!({"stop": [1]})),
        ("stream", json!({"stream": "yes"})),
        (
            "tools[0].function.name",
            json!({"tools": [{"type": "function", "function": {}}]}),
        ),
        ("tool_choice", json!({"tool_choice": "required"})),
        (
            "response_format.type",
            json!({"response_format": {"type": "xml"}}),
        ),
        ("top_logprobs", json!({"top_logprobs": 2})),
        (
            "top_logprobs",
            json!({"logprobs": true, "top_logprobs": 21}),
        ),
        ("chat_template_kwargs", json!({"chat_template_kwargs": []})),
    ];
    for (param, more) in bad {
        let reply = peer.post(CHAT, &with(ask("x"), more.clone())).await;
        assert_eq!(reply.status, 400, "{more}: {}", reply.text);
        let error = &reply.json()["error"];
        assert_eq!(error["param"], param, "{more}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].is_string());
    }
    peer.until_used(0).await;
}

#[tokio::test]
async fn unknown_members_and_nulls_are_accepted() {
    let more = json!({"brand_new": {"deep": [1]}, "temperature": null, "tools": null, "stop": null,
        "top_k": -1, "seed": null});
    Peer::start().await.chat(&with(ask("x"), more)).await;
}

#[tokio::test]
async fn a_prompt_beyond_the_context_is_refused() {
    let peer = Peer::start().await;
    let reply = peer
        .post(
            CHAT,
            &ask_model("meta-llama/Llama-2-7b-chat-hf", &"word ".repeat(4096)),
        )
        .await;
    assert_eq!(reply.refusal(), (400, "context_length_exceeded".to_owned()));
}

#[tokio::test]
async fn ids_of_models_are_case_sensitive() {
    let reply = Peer::start()
        .await
        .post(CHAT, &ask_model(&MODEL.to_lowercase(), "x"))
        .await;
    assert_eq!(reply.refusal(), (404, "model_not_found".to_owned()));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_in_json() {
    let peer = Peer::start().await;
    let send = async |kind: &str, body: String| {
        let request = peer
            .request(CHAT, body)
            .bearer_auth("key")
            .header("content-type", kind);
        // `header` appends, so the header that the helper has set is removed first.
        let mut request = request.build().unwrap();
        request
            .headers_mut()
            .insert("content-type", kind.parse().unwrap());
        peer.client.execute(request).await.unwrap()
    };
    for (kind, body, status) in [
        ("application/json", "{\"model\":", 400),
        ("application/json", "[]", 400),
        ("application/json", "", 400),
        ("text/plain", "{}", 415),
    ] {
        let response = send(kind, body.to_owned()).await;
        assert_eq!(response.status(), status, "{kind} {body}");
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(error["error"]["message"].is_string());
    }
    let large = format!("{{\"pad\":\"{}\"}}", " ".repeat(64 * 1024 * 1024));
    assert_eq!(
        send("application/json; charset=utf-8", large)
            .await
            .status(),
        413
    );
}

#[tokio::test]
async fn an_unknown_path_is_refused_in_json() {
    let peer = Peer::start().await;
    assert_eq!(
        peer.get("/v2/chat", Some("key")).await.refusal(),
        (404, "not_found".to_owned())
    );
    assert_eq!(
        peer.get(CHAT, Some("key")).await.refusal(),
        (405, "method_not_allowed".to_owned())
    );
}

#[tokio::test]
async fn errors_under_account_have_their_own_format() {
    let peer = Peer::start().await;
    let missing = peer.get("/account/nothing", Some("key")).await;
    let wrong = peer.post("/account/concurrency", &json!({})).await;
    let unknown = peer.get("/account/concurrency/stream", None).await;
    for (reply, status, code) in [
        (missing, 404, "not_found"),
        (wrong, 405, "method_not_allowed"),
        (unknown, 401, "unauthorized"),
    ] {
        let error = reply.json();
        assert_eq!(
            (reply.status, &error["statusCode"], &error["code"]),
            (status, &json!(status), &json!(code))
        );
        assert!(
            error["message"].is_string() && error.get("error").is_none(),
            "{error}"
        );
    }
    // Paths under `/account` have exactly these members.
    assert_eq!(peer.get("/accounts", Some("key")).await.refusal().0, 404);
}

#[tokio::test]
async fn keys_are_checked_in_the_shape_of_the_endpoint() {
    let peer = Peer::with(EmulatorConfig {
        api_key: Some("right".to_owned()),
        ..EmulatorConfig::default()
    })
    .await;
    for key in [None, Some("wrong")] {
        let plan = peer.get("/v1/plan", key).await;
        assert_eq!(plan.refusal(), (401, "unauthorized".to_owned()));
        assert!(plan.headers.contains_key("www-authenticate"));
        let account = peer.get("/account/concurrency", key).await;
        assert_eq!(
            (account.status, &account.json()["statusCode"]),
            (401, &json!(401))
        );
    }
    assert_eq!(
        peer.get("/v1/plan", Some("right")).await.json()["concurrency"],
        8
    );
    let barred = peer.get("/v1/models", Some("no-plan-access")).await;
    assert_eq!(barred.status, 403);
    assert!(barred.text.contains("does not have API access enabled"));
}

#[test]
fn a_printed_configuration_does_not_contain_the_key() {
    let config = EmulatorConfig {
        api_key: Some("hush".to_owned()),
        ..EmulatorConfig::default()
    };
    assert!(!format!("{config:?}").contains("hush"));
}

#[tokio::test]
async fn the_other_endpoints_are_strict_too() {
    let peer = Peer::start().await;
    for (path, body, param) in [
        ("/v1/completions", json!({"model": MODEL}), "prompt"),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": [1, "a"]}),
            "prompt",
        ),
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": "a", "provider": "x"}),
            "provider",
        ),
        (
            "/v1/embeddings",
            json!({"model": EMBEDDING_MODEL, "input": []}),
            "input",
        ),
        (
            "/v1/embeddings",
            json!({"model": EMBEDDING_MODEL, "input": "a", "encoding_format": "hex"}),
            "encoding_format",
        ),
        ("/v1/tokenize", json!({"model": MODEL}), "text"),
    ] {
        let reply = peer.post(path, &body).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["param"]),
            (400, &json!(param)),
            "{body}"
        );
    }
}
