//! The report of a call in its answer, for callers that request it.

use std::time::Duration;

use featherwire::config::{Alias, AliasList};
use featherwire::proto::v1::{
    CallReport, CreateCompletionRequest, CreateEmbeddingRequest, GatewayOptions, TriedModel,
    completion_service_client::CompletionServiceClient, create_completion_request::PromptKind,
    create_embedding_request::InputKind, embedding_service_client::EmbeddingServiceClient,
};
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted, prompt,
    scripted::{chunk, finish, no_capacity, whole},
};

const FIRST: &str = "org/first";
const SECOND: &str = "org/second-8b";

fn usage() -> Value {
    json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
}

fn stream() -> Vec<String> {
    let usage = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": MODEL, "choices": [],
        "usage": usage(),
    });
    vec![chunk("b"), finish(), usage.to_string()]
}

fn good(door: Door) -> Reply {
    if door.is_stream() {
        Reply::Events(stream())
    } else {
        Reply::Json(200, whole("b"))
    }
}

fn reporting(model: &str, more: &Value) -> Value {
    let mut request = prompt(model, "hi");
    request["stream_options"] = json!({"include_usage": true});
    request["featherwire"] = json!({"report": true});
    request["featherwire"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    request
}

#[tokio::test]
async fn there_is_no_report_unless_requested() {
    for door in Door::ALL {
        let upstream = Scripted::always(good(door)).await;
        let gateway = Gateway::to(upstream.address).await;
        let mut plain = prompt(MODEL, "hi");
        plain["stream_options"] = json!({"include_usage": true});
        let mut off = plain.clone();
        off["featherwire"] = json!({"report": false});
        for request in [plain, off] {
            let answer = gateway.ask(door, &request).await.ok();
            assert_eq!(answer.report, None, "{door:?}");
            assert!(
                !door.is_stream() || answer.pieces == 3,
                "{door:?}: there is no additional chunk either"
            );
        }
    }
}

#[tokio::test]
async fn the_report_has_the_values_of_the_headers_and_the_number_of_attempts() {
    for door in Door::ALL {
        // Two attempts with the first model, then the second model.
        let upstream = Scripted::first([no_capacity(), no_capacity(), good(door)]).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.upstream.retries = 1;
            config.upstream.retry_wait = Duration::from_millis(1);
        })
        .await;
        let answer = gateway
            .ask(door, &reporting(FIRST, &json!({"fallbacks": [SECOND]})))
            .await
            .ok();
        let report = answer.report.expect("a report");
        assert_eq!(answer.tried, Some(format!("{FIRST}=no_capacity")));
        let tried = TriedModel {
            model: FIRST.into(),
            reason: "no_capacity".into(),
            ..TriedModel::default()
        };
        let expected = CallReport {
            model_asked: FIRST.to_owned(),
            model: SECOND.to_owned(),
            tried: vec![tried],
            waited_ms: i64::try_from(answer.waited_ms.unwrap()).unwrap(),
            units: 1,
            attempts: 3,
            first_token_ms: report.first_token_ms,
            upstream_request_id: Some("scripted-1".to_owned()),
            ..CallReport::default()
        };
        assert_eq!(report, expected, "{door:?}");
        assert_eq!(
            report.first_token_ms.is_some(),
            door.is_stream(),
            "{door:?}: a unary answer has no first token"
        );
        assert_eq!(upstream.requests().len(), 3);
        assert!(
            upstream
                .requests()
                .iter()
                .all(|seen| seen.json().get("featherwire").is_none())
        );
    }
}

#[tokio::test]
async fn the_report_names_alias_and_model_and_has_no_id_if_upstream_sent_none() {
    let body = whole("b").to_string();
    let upstream = Scripted::always(Reply::Raw(
        "200 OK\r\ncontent-type: application/json".into(),
        body.into(),
    ))
    .await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.aliases = vec![AliasList(vec![Alias {
            name: "small".to_owned(),
            model: SECOND.to_owned(),
        }])];
    })
    .await;
    let report = gateway
        .ask(Door::GrpcUnary, &reporting("small", &json!({})))
        .await
        .ok()
        .report
        .unwrap();
    assert_eq!(
        (report.model_asked.as_str(), report.model.as_str()),
        ("small", SECOND)
    );
    assert_eq!(
        (report.upstream_request_id, report.attempts, report.tried),
        (None, 1, vec![])
    );
}

#[tokio::test]
async fn in_a_stream_the_report_is_the_last_message_with_the_streams_own_names() {
    for door in Door::STREAMS {
        let upstream = Scripted::always(Reply::Events(stream())).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway.ask(door, &reporting(MODEL, &json!({}))).await.ok();
        let last = answer.last.unwrap();
        assert_eq!(
            (last.id.as_str(), last.created, last.model.as_str()),
            ("chatcmpl-1", 1_700_000_000, MODEL)
        );
        assert!(
            last.choices.is_empty() && last.usage.is_none() && last.extra.is_empty(),
            "{last:?}"
        );
        assert!(
            last.featherwire.is_some() && answer.usage.is_some() && answer.pieces == 4,
            "{door:?}"
        );
        upstream.wait_until_idle().await;
    }
    // In the order of the events.
    let upstream = Scripted::always(Reply::Events(stream())).await;
    let gateway = Gateway::to(upstream.address).await;
    let response = gateway
        .post("/v1/chat/completions:stream", &reporting(MODEL, &json!({})))
        .await;
    let body = response.text().await.unwrap();
    let events: Vec<&str> = body.split_terminator("\n\n").collect();
    let [_, finish, usage, report, "data: [DONE]"] = events[..] else {
        panic!("{body}")
    };
    assert!(
        finish.contains("\"finish_reason\":\"stop\"") && usage.contains("\"usage\""),
        "{body}"
    );
    let report: Value = serde_json::from_str(report.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&report["object"], &report["choices"]),
        (&json!("chat.completion.chunk"), &json!([]))
    );
    assert_eq!(
        (
            &report["featherwire"]["tried"],
            &report["featherwire"]["attempts"]
        ),
        (&json!([]), &json!(1))
    );
}

#[tokio::test]
async fn a_stream_that_fails_has_no_report_and_gives_its_units_back() {
    for door in Door::STREAMS {
        for reply in [
            Reply::EventsThenCut(vec![chunk("b")]),
            Reply::Events(vec![chunk("b")]),
        ] {
            let upstream = Scripted::always(reply).await;
            let gateway =
                Gateway::with(upstream.address, |config| config.units.units = Some(1)).await;
            upstream.set_catalogue(json!({"object": "list", "data": []}));
            let answer = gateway.ask(door, &reporting(MODEL, &json!({}))).await;
            assert_eq!(
                (answer.content.as_str(), answer.report.is_none()),
                ("b", true),
                "{door:?}"
            );
            assert!(answer.failure.is_some());
            upstream.wait_until_idle().await;
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_report_holds_no_units() {
    let upstream = Scripted::always(Reply::Events(stream())).await;
    upstream.set_catalogue(json!({"object": "list", "data": []}));
    let gateway = Gateway::with(upstream.address, |config| config.units.units = Some(1)).await;
    let request = crate::support::door::message(&reporting(MODEL, &json!({})));
    let mut pieces = gateway
        .grpc()
        .await
        .stream_chat_completion(request)
        .await
        .unwrap()
        .into_inner();
    pieces.message().await.unwrap().unwrap();
    drop(pieces);
    gateway
        .wait_for_units("its unit comes back", |view| view["in_use"] == 0)
        .await;
    upstream.wait_until_idle().await;
}

#[tokio::test]
async fn an_accumulated_stream_has_a_report_with_its_first_token() {
    for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
        let upstream = Scripted::first([no_capacity(), Reply::Events(stream())]).await;
        let gateway = Gateway::to(upstream.address).await;
        let more = json!({"unary_via_stream": true, "fallbacks": [SECOND]});
        let report = gateway
            .ask(door, &reporting(FIRST, &more))
            .await
            .ok()
            .report
            .unwrap();
        assert!(report.first_token_ms.is_some(), "{door:?}");
        assert_eq!(
            (report.attempts, report.tried.len(), report.model.as_str()),
            (2, 1, SECOND)
        );
    }
}

#[tokio::test]
async fn the_report_has_the_wait_for_units_and_their_number() {
    for door in Door::ALL {
        let upstream = Scripted::first([Reply::Silence, good(door)]).await;
        upstream.set_catalogue(json!({"object": "list", "data": []}));
        let gateway = Gateway::with(upstream.address, |config| config.units.units = Some(2)).await;
        let two = "google/gemma-2-27b-it";
        let other = prompt(two, "hi");
        let holds = Box::pin(gateway.ask(Door::RestUnary, &other));
        let request = reporting(two, &json!({}));
        let asks = async {
            upstream.wait_for_request().await;
            gateway.ask(door, &request).await.ok()
        };
        let answer = {
            let first = async {
                tokio::select! {
                    answer = holds => panic!("silence, and not {answer:?}"),
                    () = gateway.wait_for_queued(1) => {}
                }
                // The caller leaves, and its units stay reserved for a short time.
            };
            tokio::join!(first, asks).1
        };
        let report = answer.report.unwrap();
        assert_eq!((report.units, report.attempts), (2, 1), "{door:?}");
        assert!(
            report.waited_ms > 0 && u64::try_from(report.waited_ms).ok() == answer.waited_ms,
            "{report:?}"
        );
        let first_token = report.first_token_ms.unwrap_or(report.waited_ms);
        assert!(
            first_token >= report.waited_ms,
            "it counts from the call's arrival: {report:?}"
        );
    }
}

#[tokio::test]
async fn an_upstreams_member_of_that_name_does_not_pass_as_the_gateways_report() {
    let lie = json!({"model_asked": "x", "model": "x", "tried": [], "waited_ms": 1, "units": 1,
        "attempts": 99});
    for foreign in [lie, json!("a text"), json!({"model": 7}), json!(null)] {
        let mut answer = whole("b");
        answer["featherwire"] = foreign.clone();
        let events: Vec<_> = stream()
            .into_iter()
            .map(|event| {
                let mut event: Value = serde_json::from_str(&event).unwrap();
                event["featherwire"] = foreign.clone();
                event.to_string()
            })
            .collect();
        for door in Door::ALL {
            let reply = if door.is_stream() {
                Reply::Events(events.clone())
            } else {
                Reply::Json(200, answer.clone())
            };
            let upstream = Scripted::always(reply).await;
            let gateway = Gateway::to(upstream.address).await;
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(answer.report, None, "{door:?} {foreign}");
            assert!(
                answer.last.is_none_or(|last| last.extra.is_empty()),
                "{door:?} {foreign}"
            );
            let answer = gateway.ask(door, &reporting(MODEL, &json!({}))).await.ok();
            assert_eq!(answer.report.unwrap().attempts, 1, "{door:?} {foreign}");
        }
        for via_stream in [true, false] {
            let reply = if via_stream {
                Reply::Events(events.clone())
            } else {
                Reply::Json(200, answer.clone())
            };
            let upstream = Scripted::always(reply).await;
            let gateway = Gateway::with(upstream.address, |config| {
                config.unary_via_stream = via_stream
            })
            .await;
            let body = gateway
                .post("/v1/chat/completions", &prompt(MODEL, "hi"))
                .await
                .text()
                .await
                .unwrap();
            assert!(!body.contains("featherwire"), "{body}");
        }
    }
}

#[tokio::test]
async fn completions_and_embeddings_have_a_report_too() {
    let choice = json!({"index": 0, "text": "b", "finish_reason": "stop"});
    let text = json!({"id": "cmpl-1", "created": 1, "model": MODEL, "choices": [choice],
        "featherwire": {"units": 9}});
    let vector = json!({"model": MODEL, "data": [{"index": 0, "embedding": [1.0]}],
        "featherwire": {"units": 9}});
    let options = || {
        Some(Box::new(GatewayOptions {
            report: Some(true),
            ..GatewayOptions::default()
        }))
    };
    let upstream = Scripted::always(Reply::Json(200, text.clone())).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = CreateCompletionRequest {
        model: MODEL.to_owned(),
        prompt_kind: Some(PromptKind::Prompt("hi".to_owned())),
        featherwire: options(),
        ..CreateCompletionRequest::default()
    };
    let mut texts = CompletionServiceClient::new(gateway.channel().await);
    let answer = texts
        .create_completion(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.featherwire.unwrap().model_asked, MODEL);
    let off = CreateCompletionRequest {
        featherwire: None,
        ..request.clone()
    };
    assert_eq!(
        texts
            .create_completion(off.clone())
            .await
            .unwrap()
            .into_inner()
            .featherwire,
        None
    );

    upstream.set_reply(Reply::Events(vec![text.to_string()]));
    let mut pieces = texts.stream_completion(request).await.unwrap().into_inner();
    let piece = pieces.message().await.unwrap().unwrap();
    assert_eq!((piece.choices.len(), piece.featherwire), (1, None));
    let last = pieces.message().await.unwrap().unwrap();
    assert_eq!(
        (last.id.as_str(), last.created, last.choices.len()),
        ("cmpl-1", 1, 0)
    );
    let report = last.featherwire.unwrap();
    assert_eq!(
        (
            report.units,
            report.attempts,
            report.first_token_ms.is_some()
        ),
        (1, 1, true)
    );
    assert_eq!(pieces.message().await.unwrap(), None);
    let mut pieces = texts.stream_completion(off).await.unwrap().into_inner();
    assert_eq!(pieces.message().await.unwrap().unwrap().featherwire, None);
    assert_eq!(pieces.message().await.unwrap(), None);

    upstream.set_reply(Reply::Json(200, vector));
    let request = CreateEmbeddingRequest {
        model: MODEL.to_owned(),
        input_kind: Some(InputKind::Input("hi".to_owned())),
        featherwire: options(),
        ..CreateEmbeddingRequest::default()
    };
    let mut vectors = EmbeddingServiceClient::new(gateway.channel().await);
    let answer = vectors
        .create_embedding(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.featherwire.unwrap().units, 1);
    let off = CreateEmbeddingRequest {
        featherwire: None,
        ..request
    };
    assert_eq!(
        vectors
            .create_embedding(off)
            .await
            .unwrap()
            .into_inner()
            .featherwire,
        None
    );
    assert!(
        upstream
            .requests()
            .iter()
            .all(|seen| seen.json().get("featherwire").is_none())
    );
}
