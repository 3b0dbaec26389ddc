//! Errors and empty answers that the upstream sends with a status of success.

use featherwire::{
    error::Kind,
    proto::v1::{
        GetConcurrencyRequest, GetModelRequest, GetPlanRequest, TokenizeRequest,
        account_service_client::AccountServiceClient, model_service_client::ModelServiceClient,
    },
};
use serde_json::{Value, json};

use crate::support::{
    Gateway, MODEL, Reply, Scripted,
    door::grpc_failure,
    prompt,
    scripted::{STREAM_HEAD, Then, chunk, chunked, done, finish, whole},
};

/// Errors with a status of success, the kind of each, and its code if the gateway chooses it.
fn unwrapped() -> Vec<(Value, Kind, Option<&'static str>)> {
    let failed = Some("upstream_stream_failed");
    vec![
        (
            json!({"object": "error", "message": "boo", "type": "BadRequestError", "code": 400}),
            Kind::Invalid,
            Some("upstream_refused"),
        ),
        (
            json!({"object": "error", "message": "boo", "type": "InternalServerError",
                "code": 500}),
            Kind::Upstream,
            failed,
        ),
        (json!({"detail": "boo"}), Kind::Upstream, failed),
        (
            json!({"detail": [{"loc": ["body", "n"], "msg": "boo", "type": "t"}]}),
            Kind::Invalid,
            Some("upstream_refused"),
        ),
        (
            json!({"message": "boo", "statusCode": 503}),
            Kind::Unavailable,
            Some("no_capacity"),
        ),
        (
            json!({"message": "boo", "statusCode": 429}),
            Kind::Saturated,
            None,
        ),
        (
            json!({"error": {"message": "boo", "code": "429"}}),
            Kind::Saturated,
            None,
        ),
        (
            json!({"error": {"message": "boo", "type": "rate_limit_error"}}),
            Kind::Saturated,
            None,
        ),
        (
            json!({"type": "error", "error": {"message": "boo", "type": "overloaded_error"}}),
            Kind::Unavailable,
            Some("no_capacity"),
        ),
        (
            json!({"error": {"message": "boo", "type": "not_found_error"}}),
            Kind::NotFound,
            Some("not_found"),
        ),
        (
            json!({"error": {"message": "boo", "code": "400"}}),
            Kind::Invalid,
            Some("upstream_refused"),
        ),
        (
            json!({"error": {"message": "boo", "code": 502}}),
            Kind::Upstream,
            failed,
        ),
        (
            json!({"error": "boo", "id": "x", "created": 1, "model": MODEL, "choices": []}),
            Kind::Upstream,
            failed,
        ),
    ]
}

#[tokio::test]
async fn an_error_within_a_success_is_an_error_and_keeps_its_message() {
    for (error, kind, code) in unwrapped() {
        let upstream = Scripted::always(Reply::Json(200, error.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        let whole = gateway.ask_whole().await;
        upstream.set_reply(Reply::Events(vec![
            chunk("half"),
            error.to_string(),
            finish(),
            done(),
        ]));
        let late = gateway.ask_streamed().await;
        upstream.set_reply(Reply::Events(vec![error.to_string(), finish(), done()]));
        let early = gateway.ask_streamed().await;
        for (door, answer) in whole.into_iter().chain(late).chain(early) {
            let failure = answer
                .failure
                .unwrap_or_else(|| panic!("{door:?}: {error} is not an answer"));
            assert!(
                failure.kinds.contains(&kind),
                "{door:?} {error}: {failure:?}"
            );
            assert!(
                failure.message.contains("boo"),
                "{door:?} {error}: {failure:?}"
            );
            assert!(
                !failure.message.contains("FEATHERLESS_BASE_URL"),
                "{door:?} {error}: {failure:?}"
            );
            assert!(
                code.is_none_or(|code| code == failure.code),
                "{door:?} {error}: {failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_event_named_error_is_an_error_with_any_content() {
    for (data, kind) in [
        ("data: boo\n", Kind::Upstream),
        ("data: \"boo\"\n", Kind::Upstream),
        ("data: [\"boo\"]\n", Kind::Upstream),
        ("data: {\"text\":\n data: 1}\ndata: boo\n", Kind::Upstream),
        (
            "data: {\"type\":\"overloaded_error\",\"message\":\"boo\"}\n",
            Kind::Unavailable,
        ),
        ("", Kind::Upstream),
    ] {
        let event = |text: &str| chunked(&format!("{text}\n"));
        let half = event(&format!("data: {}\n", chunk("half")));
        let end = event(&format!("data: {}\n\ndata: [DONE]\n", finish()));
        let wire = format!(
            "{STREAM_HEAD}{half}{}{end}0\r\n\r\n",
            event(&format!("event: error\n{data}"))
        );
        let upstream = Scripted::always(Reply::Wire(wire.into_bytes(), Then::Next)).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in gateway.ask_streamed().await {
            assert_eq!(
                answer.content,
                if door.is_stream() { "half" } else { "" },
                "{door:?} {data}"
            );
            let failure = answer
                .failure
                .unwrap_or_else(|| panic!("{door:?}: {data:?} is not an answer"));
            assert!(
                failure.kinds.contains(&kind),
                "{door:?} {data:?}: {failure:?}"
            );
            assert_eq!(
                failure.message.contains("boo"),
                data.contains("boo"),
                "{door:?} {data:?}: {failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_empty_error_is_not_an_error() {
    for error in [
        json!(""),
        json!({}),
        json!(false),
        json!(null),
        json!([]),
        json!({"message": null, "code": 0}),
    ] {
        let mut last: Value = serde_json::from_str(&finish()).unwrap();
        last["error"] = error.clone();
        last["choices"][0]["error"] = error.clone();
        let mut answer = whole("all");
        answer["error"] = error.clone();
        answer["choices"][0]["error"] = error.clone();
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        let unary = gateway.ask_whole().await;
        upstream.set_reply(Reply::Events(vec![chunk("all"), last.to_string(), done()]));
        for (door, answer) in unary.into_iter().chain(gateway.ask_streamed().await) {
            assert_eq!(answer.ok().content, "all", "{door:?} {error}");
        }
    }
}

#[tokio::test]
async fn an_empty_success_is_not_an_answer() {
    let texts = [
        ("/v1/tokenize", json!({"model": MODEL, "text": ""})),
        ("/v1/embeddings", json!({"model": MODEL, "input": "hi"})),
        ("/v1/completions", json!({"model": MODEL, "prompt": "hi"})),
        ("/v1/chat/completions", prompt(MODEL, "hi")),
    ];
    let resources = [
        "/v1/plan",
        "/v1/concurrency",
        "/v1/models",
        "/v1/models?q=x",
        "/v1/models/org/model",
    ];
    for nothing in [
        json!({}),
        json!({"later": 1}),
        json!({"choices": null, "data": null, "tokens": null}),
    ] {
        let upstream = Scripted::always(Reply::Json(200, nothing.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        let mut answers = Vec::new();
        for path in resources {
            answers.push((path, gateway.get_json(path).await));
        }
        for (path, request) in &texts {
            answers.push((path, gateway.post_json(path, request).await));
        }
        for (path, (status, body)) in answers {
            assert_eq!(
                (status, &body["error"]["code"]),
                (502, &json!("upstream_bad_answer")),
                "{path} {nothing}: {body}"
            );
        }
        let mut models = ModelServiceClient::new(gateway.channel().await);
        let mut account = AccountServiceClient::new(gateway.channel().await);
        let text = TokenizeRequest {
            model: MODEL.to_owned(),
            text: Some("x".to_owned()),
            ..TokenizeRequest::default()
        };
        for status in [
            models.tokenize(text).await.unwrap_err(),
            models
                .get_model(GetModelRequest {
                    model: MODEL.to_owned(),
                })
                .await
                .unwrap_err(),
            account
                .get_plan(GetPlanRequest::default())
                .await
                .unwrap_err(),
            account
                .get_concurrency(GetConcurrencyRequest {})
                .await
                .unwrap_err(),
        ] {
            assert_eq!(grpc_failure(&status).code, "upstream_bad_answer");
        }
    }
}

#[tokio::test]
async fn an_answer_that_may_be_empty_is_an_answer() {
    let upstream = Scripted::always(Reply::Json(200, json!({"tokens": []}))).await;
    let gateway = Gateway::to(upstream.address).await;
    assert_eq!(
        gateway
            .post_json("/v1/tokenize", &json!({"model": MODEL, "text": ""}))
            .await,
        (200, json!({"tokens": []}))
    );
    upstream.set_reply(Reply::Json(200, json!({"data": []})));
    assert_eq!(
        gateway.get_json("/v1/models?q=nothing").await.1["data"],
        json!([])
    );
    upstream.set_reply(Reply::Json(
        200,
        json!({"limit": null, "used_cost": 0, "request_count": 0, "requests": []}),
    ));
    assert_eq!(
        gateway.get_json("/v1/concurrency").await.1["requests"],
        json!([])
    );
}

#[tokio::test]
async fn an_error_in_place_of_a_resource_keeps_its_message() {
    let upstream =
        Scripted::always(Reply::Json(200, json!({"detail": "boo", "status": 503}))).await;
    let gateway = Gateway::to(upstream.address).await;
    for path in [
        "/v1/plan",
        "/v1/concurrency",
        "/v1/models",
        "/v1/models?q=x",
        "/v1/models/org/model",
    ] {
        let (status, body) = gateway.get_json(path).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (503, &json!("no_capacity")),
            "{path}: {body}"
        );
        assert!(
            body["error"]["message"].as_str().unwrap().contains("boo"),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn a_plan_has_null_where_featherless_has_null_and_no_member_where_it_has_none() {
    let plan = json!({"id": "p", "name": "n", "max_context_length": null, "max_model_size": 70,
        "concurrency": null});
    let upstream = Scripted::first([
        Reply::Json(200, plan.clone()),
        Reply::Json(200, json!({"id": "p", "name": "n"})),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    assert_eq!(gateway.get_json("/v1/plan").await, (200, plan));
    assert_eq!(
        gateway.get_json("/v1/plan").await,
        (200, json!({"id": "p", "name": "n"}))
    );
}
