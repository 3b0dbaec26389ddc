//! Compares answers of the running gateway with the document: status, headers, media type and body.

use std::collections::{BTreeMap, BTreeSet};

use featherwire::config::{Alias, AliasList, Serve};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Document, problems};
use crate::support::{Emulator, Gateway, MODEL, prompt, rest::http};

/// An answer, and its request.
pub struct Answer {
    pub what: String,
    pub method: Method,
    /// The path as the document writes it.
    pub path: &'static str,
    pub status: u16,
    pub headers: HeaderMap,
    /// The JSON body; of a stream, each event but `[DONE]`.
    pub bodies: Vec<Value>,
}

impl Answer {
    pub fn is_stream(&self) -> bool {
        self.headers["content-type"] == "text/event-stream"
    }
}

/// Adds members to a request, and replaces existing ones.
fn with(mut request: Value, more: &Value) -> Value {
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    request
}

/// A request: its description, the method, the path in the document, the actual path, and the body.
type Call = (String, Method, &'static str, String, Option<Value>);

fn chats() -> Vec<(&'static str, Value)> {
    let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]
    }}});
    let hello = || prompt(MODEL, "Say hello in 5 words");
    vec![
        ("plain", hello()),
        ("several answers", with(hello(), &json!({"n": 3}))),
        (
            "cut by max_tokens",
            with(hello(), &json!({"max_tokens": 2})),
        ),
        (
            "tool call",
            with(
                prompt(MODEL, "The weather in Paris?"),
                &json!({"tools": [tool], "tool_choice": "required"}),
            ),
        ),
        (
            "logprobs",
            with(hello(), &json!({"logprobs": true, "top_logprobs": 2})),
        ),
        (
            "JSON",
            with(
                hello(),
                &json!({"response_format": {"type": "json_object"}}),
            ),
        ),
        (
            "reasoning",
            with(
                hello(),
                &json!({"chat_template_kwargs": {"enable_thinking": true}}),
            ),
        ),
        ("a thinking model", prompt("emulator/think", "hi")),
        ("an odd model", prompt("emulator/odd", "hi")),
    ]
}

fn texts() -> Vec<(&'static str, Value)> {
    let text = || json!({"model": MODEL, "prompt": "Once upon a time", "max_tokens": 20});
    vec![
        ("plain", text()),
        (
            "several prompts",
            with(text(), &json!({"prompt": ["one", "two"], "n": 2})),
        ),
        ("token ids", with(text(), &json!({"prompt": [1, 2, 3]}))),
        (
            "logprobs",
            with(text(), &json!({"logprobs": 2, "echo": true})),
        ),
    ]
}

fn calls() -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut post = |what: &str, path: &'static str, body: Value| {
        calls.push((
            format!("{path}, {what}"),
            Method::POST,
            path,
            path.to_owned(),
            Some(body),
        ));
    };
    for (path, requests) in [
        ("/v1/chat/completions", chats()),
        ("/v1/completions", texts()),
    ] {
        for (what, request) in requests {
            post(what, path, request.clone());
            let options = json!({"stream": true, "stream_options": {"include_usage": true}});
            post(&format!("{what}, streamed"), path, with(request, &options));
        }
        let request = || {
            if path == "/v1/completions" {
                json!({"model": MODEL, "prompt": "x"})
            } else {
                prompt(MODEL, "x")
            }
        };
        for model in [
            "emulator/cold",
            "emulator/gated",
            "emulator/no-plan-access",
            "emulator/not-on-plan",
            "emulator/401",
            "emulator/429",
            "emulator/500",
            "emulator/503",
            "emulator/524-html",
            "emulator/html-200",
            "emulator/redirect",
            "emulator/bare-error",
            "emulator/broken-json",
            "no/such-model",
        ] {
            post(model, path, with(request(), &json!({ "model": model })));
        }
        for model in [
            "emulator/error-in-stream",
            "emulator/error-object-in-stream",
            "emulator/cut-after-5",
        ] {
            post(
                model,
                path,
                with(request(), &json!({"model": model, "stream": true})),
            );
        }
        post(
            "a bad number",
            path,
            with(request(), &json!({"temperature": 3})),
        );
        post(
            "a bad word",
            path,
            with(request(), &json!({"provider": "other"})),
        );
        post("no model", path, json!({}));
        post("no object", path, json!([]));
    }
    for (what, more) in [
        ("one text", json!({"input": "a text"})),
        ("several texts", json!({"input": ["a text", "another"]})),
        (
            "numbers",
            json!({"input": "a text", "encoding_format": "float"}),
        ),
        (
            "base64",
            json!({"input": "a text", "encoding_format": "base64"}),
        ),
        ("no input", json!({})),
    ] {
        post(
            what,
            "/v1/embeddings",
            with(json!({"model": "BAAI/bge-m3"}), &more),
        );
    }
    post(
        "text",
        "/v1/tokenize",
        json!({"model": MODEL, "text": "How many tokens?"}),
    );
    post(
        "no model",
        "/v1/tokenize",
        json!({"text": "How many tokens?"}),
    );
    let mut get = |path: &'static str, asked: &str| {
        calls.push((asked.to_owned(), Method::GET, path, asked.to_owned(), None));
    };
    get("/v1/models", "/v1/models");
    get("/v1/models", "/v1/models?q=gemma");
    get("/v1/models/{org}/{name}", &format!("/v1/models/{MODEL}"));
    get("/v1/models/{org}/{name}", "/v1/models/no/model");
    get(
        "/v1/models/{name}",
        &format!("/v1/models/{}", MODEL.replace('/', "%2F")),
    );
    get("/v1/models/{name}", "/v1/models/model");
    for path in ["/v1/plan", "/v1/concurrency", "/healthz", "/readyz"] {
        get(path, path);
    }
    calls
}

/// The gateway's answers to all requests, and to a few that need a special gateway or header.
pub async fn all() -> Vec<Answer> {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut answers = Vec::new();
    for call in calls() {
        answers.push(ask(&gateway, call, "application/json").await);
    }
    let chat = |what: &str, body: Value| {
        (
            what.to_owned(),
            Method::POST,
            "/v1/chat/completions",
            "/v1/chat/completions".to_owned(),
            Some(body),
        )
    };
    answers.push(
        ask(
            &gateway,
            chat("not JSON by its word", prompt(MODEL, "hi")),
            "text/plain",
        )
        .await,
    );
    let configured =
        async |configure: fn(&mut Serve)| Gateway::with(emulator.address, configure).await;
    let locked = configured(|config| config.api_keys = vec!["gw_live_1".into()]).await;
    answers.push(
        ask(
            &locked,
            chat("no key", prompt(MODEL, "hi")),
            "application/json",
        )
        .await,
    );
    let narrow = configured(|config| config.max_request_bytes = bytesize::ByteSize::kib(1)).await;
    answers.push(
        ask(
            &narrow,
            chat("too large", prompt(MODEL, &"x".repeat(2000))),
            "application/json",
        )
        .await,
    );
    let keyless = configured(|config| config.upstream.featherless_api_key = None).await;
    answers.push(
        ask(
            &keyless,
            chat("no upstream key", prompt(MODEL, "hi")),
            "application/json",
        )
        .await,
    );
    let alias = "gpt-4o=emulator/503".to_owned();
    let configured = Gateway::with(emulator.address, |config| {
        config.models.aliases = vec![clap_alias(&alias)];
    })
    .await;
    let post = http()
        .post(configured.url("/v1/chat/completions"))
        .header("x-featherwire-fallback", MODEL);
    let call = chat("an alias and a fallback", prompt("gpt-4o", "hi"));
    answers.push(sent(post, call, "application/json").await);
    let probe = (
        "not ready".to_owned(),
        Method::GET,
        "/readyz",
        "/readyz".to_owned(),
        None,
    );
    answers.push(ask(&keyless, probe, "").await);
    answers
}

/// The alias of a text `name=model`.
fn clap_alias(text: &str) -> AliasList {
    let (name, model) = text.split_once('=').unwrap();
    AliasList(vec![Alias {
        name: name.to_owned(),
        model: model.to_owned(),
    }])
}

async fn ask(gateway: &Gateway, call: Call, media_type: &str) -> Answer {
    let request = http().request(call.1.clone(), gateway.url(&call.3));
    sent(request, call, media_type).await
}

async fn sent(
    mut request: reqwest::RequestBuilder,
    (what, method, path, _, body): Call,
    media_type: &str,
) -> Answer {
    if let Some(body) = body {
        request = request
            .header("content-type", media_type)
            .body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let bodies = match headers["content-type"].to_str().unwrap() {
        "text/event-stream" => events(&text),
        "application/json" => vec![serde_json::from_str(&text).unwrap()],
        _ => vec![Value::from(text)],
    };
    Answer {
        what,
        method,
        path,
        status,
        headers,
        bodies,
    }
}

fn events(text: &str) -> Vec<Value> {
    let events = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap());
    events
        .filter(|event| *event != "[DONE]")
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

/// The gateway's own headers besides those that begin with `x-fe`.
const OWN_HEADERS: [&str; 3] = ["x-request-id", "age", "retry-after"];

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let document = Document::ours();
    let mut validators = BTreeMap::new();
    let (mut statuses, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for answer in all().await {
        let Answer {
            what,
            method,
            path,
            status,
            headers,
            bodies,
        } = &answer;
        let operation = &document.0["paths"][path][method.as_str().to_lowercase()];
        let response = operation["responses"].get(status.to_string());
        let response = document
            .resolve(response.unwrap_or_else(|| panic!("{what}: {status} is not documented")));
        let media_type = headers["content-type"]
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap();
        let content = response["content"]
            .get(media_type)
            .unwrap_or_else(|| panic!("{what}: {media_type}"));
        let schema = &content["schema"];
        let error = json!({ "$ref": "#/components/schemas/ErrorResponse" });
        assert!(!bodies.is_empty(), "{what}");
        for body in bodies {
            // An event that is an error has the schema of errors, as the description says.
            let schema = if answer.is_stream() && body.get("error").is_some() {
                &error
            } else {
                schema
            };
            let validator = validators
                .entry(schema.to_string())
                .or_insert_with(|| document.validator(schema));
            assert_eq!(problems(validator, body), [""; 0], "{what}: {body}");
        }
        let is_ours = |name: &&str| name.starts_with("x-fe") || OWN_HEADERS.contains(name);
        for name in headers.keys().map(|name| name.as_str()).filter(is_ours) {
            let is_documented = response["headers"].get(name).is_some();
            assert!(is_documented, "{what}: the header {name} is not documented");
            seen.insert(name.to_owned());
        }
        assert!(headers.contains_key("x-request-id"), "{what}");
        statuses.insert(*status);
    }
    // Each header in the document has occurred in an answer.
    let named = document.0["paths"].as_object().unwrap().values();
    let named = named.flat_map(|item| item.as_object().unwrap().values());
    let named = named.flat_map(|operation| operation["responses"].as_object().unwrap().values());
    let named = named.filter_map(|response| document.resolve(response)["headers"].as_object());
    let named: BTreeSet<_> = named.flat_map(|headers| headers.keys().cloned()).collect();
    assert_eq!(seen, named);
    assert_eq!(
        statuses.into_iter().collect::<Vec<_>>(),
        [200, 400, 401, 403, 404, 413, 415, 429, 502, 503, 504]
    );
}

#[tokio::test]
async fn a_watch_yields_what_the_document_says() {
    use futures_util::StreamExt;
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let response = http()
        .get(gateway.url("/v1/concurrency/stream"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = http_body_util::BodyStream::new(reqwest::Body::from(response));
    let event = body.next().await.unwrap().unwrap().into_data().unwrap();
    let events = events(std::str::from_utf8(&event).unwrap());
    let document = Document::ours();
    let watch = &document.0["paths"]["/v1/concurrency/stream"]["get"]["responses"]["200"];
    let validator = document.validator(&watch["content"]["text/event-stream"]["schema"]);
    assert!(!events.is_empty());
    for event in events {
        assert_eq!(problems(&validator, &event), [""; 0]);
    }
}

/// The schemas of the document refuse incomplete answers.
#[test]
fn the_document_does_not_accept_an_answer_without_its_members() {
    let document = Document::ours();
    let good = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
        "index": 0, "finish_reason": null, "logprobs": null,
        "message": {"role": "assistant", "content": null, "refusal": null},
    }]});
    let validator = document.named("CreateChatCompletionResponse");
    assert_eq!(problems(&validator, &good), [""; 0]);
    for missing in [
        "/id",
        "/object",
        "/created",
        "/model",
        "/choices",
        "/choices/0/index",
        "/choices/0/finish_reason",
        "/choices/0/logprobs",
        "/choices/0/message/role",
        "/choices/0/message/content",
        "/choices/0/message/refusal",
    ] {
        let (parent, name) = missing.rsplit_once('/').unwrap();
        let mut bad = good.clone();
        bad.pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name)
            .unwrap();
        assert!(!validator.is_valid(&bad), "without {missing}");
    }
    for (member, wrong) in [
        ("/object", json!("chat.completion.chunk")),
        ("/created", json!("1")),
        ("/choices", json!(null)),
        ("/choices/0/message/role", json!(null)),
        ("/choices/0/message/tool_calls", json!(null)),
    ] {
        let (parent, name) = member.rsplit_once('/').unwrap();
        let mut bad = good.clone();
        bad.pointer_mut(parent).unwrap()[name] = wrong;
        assert!(!validator.is_valid(&bad), "with another {member}");
    }
}
