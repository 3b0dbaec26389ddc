//! What the upstream means, in whatever shape it says so: refusals, outages, answers that have
//! failed, and answers that are none.

use featherwire::{
    error::Kind,
    proto::v1::{
        GetConcurrencyRequest, GetModelRequest, GetPlanRequest, TokenizeRequest,
        account_service_client::AccountServiceClient, model_service_client::ModelServiceClient,
    },
};
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted,
    door::{Answer, grpc_failure},
    gateway::http,
    prompt,
    scripted::{STREAM_HEAD, Then, chunk, chunked, event, finish, whole},
};

fn raw(status: u16, media_type: &str, body: &str) -> Reply {
    Reply::Raw(
        format!("{status} Scripted\r\ncontent-type: {media_type}"),
        body.as_bytes().to_vec(),
    )
}

fn done() -> String {
    "[DONE]".to_owned()
}

/// A unary answer that is streamed upstream.
const VIA_STREAM: [(&str, &str); 1] = [("x-featherwire-unary-via-stream", "true")];

/// The ways to ask of which the upstream sees a stream.
async fn ask_streamed(gateway: &Gateway) -> Vec<(Door, Answer)> {
    let mut answers = Vec::new();
    for door in Door::ALL {
        answers.push((
            door,
            gateway
                .ask_with(door, &prompt(MODEL, "hi"), &VIA_STREAM)
                .await,
        ));
    }
    answers
}

/// The ways to ask of which it sees none.
async fn ask_whole(gateway: &Gateway) -> Vec<(Door, Answer)> {
    let mut answers = Vec::new();
    for door in Door::ALL.into_iter().filter(|door| !door.is_stream()) {
        answers.push((door, gateway.ask(door, &prompt(MODEL, "hi")).await));
    }
    answers
}

#[tokio::test]
async fn a_refusal_stays_one_at_every_door_in_whatever_shape_it_comes() {
    let bodies = [
        ("application/json", r#"{"detail":"boo"}"#),
        (
            "application/json",
            r#"{"detail":[{"loc":["body","messages",0],"msg":"boo","type":"missing"}]}"#,
        ),
        (
            "application/json",
            r#"{"statusCode":400,"message":["boo","a"],"error":"Bad Request"}"#,
        ),
        ("application/json", r#"{"errors":["boo"]}"#),
        ("text/plain", "boo"),
        ("text/plain", ""),
        ("text/html", "<html><h1>boo</h1></html>"),
    ];
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (status, kind, code) in [
        (400, Kind::Invalid, "upstream_refused"),
        (402, Kind::Forbidden, "payment_required"),
        (403, Kind::Forbidden, "forbidden"),
        (405, Kind::Invalid, "upstream_refused"),
        (409, Kind::Invalid, "upstream_refused"),
        (410, Kind::Invalid, "upstream_refused"),
        (413, Kind::TooLarge, "request_too_large"),
        (415, Kind::Invalid, "upstream_refused"),
        (422, Kind::Invalid, "upstream_refused"),
        (451, Kind::Forbidden, "forbidden"),
    ] {
        for (media_type, body) in bodies {
            upstream.replies(raw(status, media_type, body));
            for door in Door::ALL {
                let failure = gateway
                    .ask(door, &prompt(MODEL, "hi"))
                    .await
                    .failed(kind, code);
                let is_quoted = body.contains("boo") && media_type != "text/html";
                assert_eq!(
                    failure.message.contains("boo"),
                    is_quoted,
                    "{door:?} {status} {body}: {failure:?}"
                );
                assert!(!failure.message.contains('<'), "{failure:?}");
                let has_path = kind == Kind::Invalid && body.contains("loc");
                assert_eq!(
                    failure.param.as_deref(),
                    has_path.then_some("messages[0]"),
                    "{door:?} {status} {body}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_outage_is_told_as_one_and_not_as_a_wrong_address() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (status, kind, code) in [
        (501, Kind::Upstream, "upstream_error"),
        (502, Kind::Upstream, "upstream_error"),
        (503, Kind::Unavailable, "no_capacity"),
        (504, Kind::Timeout, "upstream_timeout"),
        (520, Kind::Upstream, "upstream_error"),
        (522, Kind::Timeout, "upstream_timeout"),
        (525, Kind::Upstream, "upstream_error"),
        (529, Kind::Unavailable, "no_capacity"),
        (530, Kind::Upstream, "upstream_error"),
        (599, Kind::Timeout, "upstream_timeout"),
    ] {
        for (media_type, body) in [
            ("text/html", "<html><h1>Bad gateway</h1></html>"),
            (
                "application/json",
                r#"{"type":"error","error":{"type":"api_error","message":"boo"}}"#,
            ),
            ("text/plain", ""),
        ] {
            upstream.replies(raw(status, media_type, body));
            for door in [Door::RestUnary, Door::GrpcStream, Door::WebUnary] {
                let failure = gateway
                    .ask(door, &prompt(MODEL, "hi"))
                    .await
                    .failed(kind, code);
                assert_eq!(
                    failure.message.contains("boo"),
                    body.contains("boo"),
                    "{status} {body}: {failure:?}"
                );
                assert!(
                    !failure.message.contains("FEATHERLESS_BASE_URL"),
                    "{failure:?}"
                );
                assert!(!failure.message.contains('<'), "{failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_for_a_bad_reason_has_failed_after_what_it_has_said() {
    let failing = |reason: &str, in_choice: Value, beside: Value| {
        let mut event: Value =
            serde_json::from_str(&event(&json!({"content": "end"}), Some(reason))).unwrap();
        if !in_choice.is_null() {
            event["choices"][0]["error"] = in_choice;
        }
        if !beside.is_null() {
            event["error"] = beside;
        }
        event.to_string()
    };
    let boo = json!({"message": "boo", "code": 502});
    for (last, words) in [
        (failing("abort", json!(null), json!(null)), "abort"),
        (failing("error", json!(null), json!(null)), "error"),
        (failing("cancelled", json!({}), json!("")), "cancelled"),
        (failing("error", boo.clone(), json!(null)), "boo"),
        (failing("error", json!("boo"), json!(null)), "boo"),
        (failing("error", json!(null), boo.clone()), "boo"),
        (failing("stop", json!(null), json!("boo")), "boo"),
        (failing("", json!(null), boo), "boo"),
    ] {
        let upstream =
            Scripted::always(Reply::Events(vec![chunk("half "), last.clone(), done()])).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in ask_streamed(&gateway).await {
            assert_eq!(
                answer.content,
                if door.is_stream() { "half end" } else { "" },
                "{door:?} {last}"
            );
            assert_eq!(
                answer.finish_reason, None,
                "{door:?} {last}: it never looks complete"
            );
            let failure = answer.failed(Kind::Upstream, "upstream_stream_failed");
            assert!(
                failure.message.contains(words),
                "{door:?} {last}: {failure:?}"
            );
        }
        upstream.rests().await;
    }
}

#[tokio::test]
async fn a_whole_answer_that_ended_for_a_bad_reason_is_an_error() {
    for (reason, error, words) in [
        ("abort", json!(null), "abort"),
        ("error", json!({"message": "boo"}), "boo"),
        ("", json!("boo"), "boo"),
        ("ERROR_LIMIT", json!({}), "ERROR_LIMIT"),
    ] {
        let mut answer = whole("half");
        answer["choices"][0]["finish_reason"] = json!(reason);
        answer["choices"][0]["error"] = error;
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in ask_whole(&gateway).await {
            let failure = answer.failed(Kind::Upstream, "upstream_stream_failed");
            assert!(
                failure.message.contains(words),
                "{door:?} {reason}: {failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_text_completion_fails_for_the_same_reasons() {
    let text = |text: &str, reason: Value| json!({"id": "x", "created": 1, "model": MODEL, "choices": [{"index": 0, "text": text, "finish_reason": reason}]});
    let events = vec![
        text("half ", json!(null)).to_string(),
        text("end", json!("abort")).to_string(),
        done(),
    ];
    let request =
        |stream: bool| json!({"model": MODEL, "prompt": "hi", "stream": stream}).to_string();
    let upstream = Scripted::first([
        Reply::Json(200, text("half", json!("error"))),
        Reply::Events(events),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let post = || {
        http()
            .post(gateway.url("/v1/completions"))
            .header("content-type", "application/json")
    };
    let unary = post().body(request(false)).send().await.unwrap();
    assert_eq!(unary.status(), 502);
    assert!(
        unary
            .text()
            .await
            .unwrap()
            .contains("upstream_stream_failed")
    );
    let stream = post()
        .body(request(true))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        stream.contains("half ") && stream.contains("end"),
        "{stream}"
    );
    assert!(stream.contains("upstream_stream_failed"), "{stream}");
    assert!(
        !stream.contains("[DONE]") && !stream.contains(r#""finish_reason":"abort""#),
        "{stream}"
    );
}

#[tokio::test]
async fn an_engines_own_word_for_a_good_end_goes_on_as_it_is() {
    for reason in [
        "eos",
        "eos_token",
        "end_turn",
        "stop_sequence",
        "max_tokens",
        "content_filter",
        "tool_calls",
        "unheard_of",
    ] {
        let mut answer = whole("all");
        answer["choices"][0]["finish_reason"] = json!(reason);
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in ask_whole(&gateway).await {
            assert_eq!(
                answer.ok().finish_reason.as_deref(),
                Some(reason),
                "{door:?}"
            );
        }
        upstream.replies(Reply::Events(vec![
            chunk("all"),
            event(&json!({}), Some(reason)),
            done(),
        ]));
        for (door, answer) in ask_streamed(&gateway).await {
            assert_eq!(
                answer.ok().finish_reason.as_deref(),
                Some(reason),
                "{door:?}"
            );
        }
    }
}

/// Errors that calls themselves successes, what kind each is, and its code if that is ours alone to
/// choose.
fn unwrapped() -> Vec<(Value, Kind, Option<&'static str>)> {
    let failed = Some("upstream_stream_failed");
    vec![
        (
            json!({"object": "error", "message": "boo", "type": "BadRequestError", "code": 400}),
            Kind::Invalid,
            Some("upstream_refused"),
        ),
        (
            json!({"object": "error", "message": "boo", "type": "InternalServerError", "code": 500}),
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
async fn an_error_within_a_success_means_what_it_says_and_keeps_its_words() {
    for (error, kind, code) in unwrapped() {
        let upstream = Scripted::always(Reply::Json(200, error.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        let whole = ask_whole(&gateway).await;
        upstream.replies(Reply::Events(vec![
            chunk("half"),
            error.to_string(),
            finish(),
            done(),
        ]));
        let late = ask_streamed(&gateway).await;
        upstream.replies(Reply::Events(vec![error.to_string(), finish(), done()]));
        let early = ask_streamed(&gateway).await;
        for (door, answer) in whole.into_iter().chain(late).chain(early) {
            let failure = answer
                .failure
                .unwrap_or_else(|| panic!("{door:?}: {error} is no answer"));
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
async fn an_event_that_is_named_error_is_one_whatever_is_in_it() {
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
        for (door, answer) in ask_streamed(&gateway).await {
            assert_eq!(
                answer.content,
                if door.is_stream() { "half" } else { "" },
                "{door:?} {data}"
            );
            let failure = answer
                .failure
                .unwrap_or_else(|| panic!("{door:?}: {data:?} is no answer"));
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
async fn an_error_that_says_nothing_is_none() {
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
        let unary = ask_whole(&gateway).await;
        upstream.replies(Reply::Events(vec![chunk("all"), last.to_string(), done()]));
        for (door, answer) in unary.into_iter().chain(ask_streamed(&gateway).await) {
            assert_eq!(answer.ok().content, "all", "{door:?} {error}");
        }
    }
}

async fn get(gateway: &Gateway, path: &str) -> (u16, Value) {
    let response = http().get(gateway.url(path)).send().await.unwrap();
    (
        response.status().as_u16(),
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let post = http()
        .post(gateway.url(path))
        .header("content-type", "application/json")
        .body(body.to_string());
    let response = post.send().await.unwrap();
    (
        response.status().as_u16(),
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

#[tokio::test]
async fn a_success_with_nothing_in_it_is_no_answer() {
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
            answers.push((path, get(&gateway, path).await));
        }
        for (path, request) in &texts {
            answers.push((path, post(&gateway, path, request).await));
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
            account.get_plan(GetPlanRequest {}).await.unwrap_err(),
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
async fn what_is_empty_for_good_reason_is_an_answer() {
    let upstream = Scripted::always(Reply::Json(200, json!({"tokens": []}))).await;
    let gateway = Gateway::to(upstream.address).await;
    assert_eq!(
        post(
            &gateway,
            "/v1/tokenize",
            &json!({"model": MODEL, "text": ""})
        )
        .await,
        (200, json!({"tokens": []}))
    );
    upstream.replies(Reply::Json(200, json!({"data": []})));
    assert_eq!(
        get(&gateway, "/v1/models?q=nothing").await.1["data"],
        json!([])
    );
    upstream.replies(Reply::Json(
        200,
        json!({"limit": null, "used_cost": 0, "request_count": 0, "requests": []}),
    ));
    assert_eq!(
        get(&gateway, "/v1/concurrency").await.1["requests"],
        json!([])
    );
}

#[tokio::test]
async fn an_error_in_place_of_a_resource_keeps_its_words() {
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
        let (status, body) = get(&gateway, path).await;
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
async fn a_plan_says_null_where_featherless_does_and_nothing_where_it_does_not() {
    let plan = json!({"id": "p", "name": "n", "max_context_length": null, "max_model_size": 70, "concurrency": null});
    let upstream = Scripted::first([
        Reply::Json(200, plan.clone()),
        Reply::Json(200, json!({"id": "p", "name": "n"})),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    assert_eq!(get(&gateway, "/v1/plan").await, (200, plan));
    assert_eq!(
        get(&gateway, "/v1/plan").await,
        (200, json!({"id": "p", "name": "n"}))
    );
}
