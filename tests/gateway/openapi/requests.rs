//! The gateway accepts exactly the requests that the document allows. Each member of each request,
//! at every depth, gets values of every type and at the limits of every range. The gateway and the
//! document must both accept or both refuse each request.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Document;

use crate::support::{Gateway, Reply, Scripted, rest::http, rest::with_json};

/// Values of every type.
fn kinds() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(5),
        json!(-1_000_000_000),
        json!(1_000_000_000),
        json!(10_000_000_000_u64),
        json!(u64::MAX),
        json!(0.5),
        json!(-1e30),
        json!(1e30),
        json!(5.0),
        json!(-0.0),
        json!(""),
        json!(" "),
        json!("x"),
        json!("featherless"),
        json!([]),
        json!([null]),
        json!(["x"]),
        json!([5]),
        json!(["x", 5]),
        json!([[]]),
        json!([[5]]),
        json!([[5], ["x"]]),
        json!([{}]),
        json!({}),
        json!({"x": 1}),
        json!({"x": "x"}),
        json!({"x": null}),
    ]
}

/// Values at the limits of a schema's range, on both sides.
fn edges(schema: &Value) -> Vec<Value> {
    let is_integer = schema["type"].to_string().contains("integer");
    let step = |bound: f64, by: f64| {
        if is_integer {
            json!((bound + by.signum()) as i64)
        } else {
            json!(bound + by)
        }
    };
    ["minimum", "exclusiveMinimum", "maximum"]
        .iter()
        .filter_map(|keyword| schema.get(*keyword))
        .filter(|bound| bound.as_f64().unwrap().abs() < 1e15)
        .flat_map(|bound| {
            let number = bound.as_f64().unwrap();
            [bound.clone(), step(number, 0.001), step(number, -0.001)]
        })
        .collect()
}

/// The smallest value that a schema allows.
fn smallest(document: &Document, schema: &Value) -> Value {
    let schema = document.resolve(schema);
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let required = schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let members = required.map(|name| name.as_str().unwrap());
            // A role of the caller's own messages, whose types are checked.
            let value = |name| match name {
                "role" => json!("user"),
                name => smallest(document, &schema["properties"][name]),
            };
            members.map(|name| (name.to_owned(), value(name))).collect()
        }
        Some("array") if schema["minItems"].is_u64() => {
            json!([smallest(document, &schema["items"])])
        }
        None if schema.get("oneOf").is_some() => smallest(document, &schema["oneOf"][0]),
        None if schema.get("anyOf").is_some() => smallest(document, &schema["anyOf"][0]),
        None | Some("array") => json!([]),
        Some("string") => json!("x"),
        other => panic!("no rule for {other:?}"),
    }
}

/// Collects the requests for a message and all messages in it. `around` inserts a value at the
/// message's place in the request.
fn vary(
    document: &Document,
    message: &str,
    around: &dyn Fn(Value) -> Value,
    seen: &mut BTreeSet<String>,
    requests: &mut Vec<Value>,
) {
    if !seen.insert(message.to_owned()) {
        return;
    }
    let schema = &document.0["components"]["schemas"][message];
    let base = smallest(
        document,
        &json!({ "$ref": format!("#/components/schemas/{message}") }),
    );
    requests.push(around(base.clone()));
    if schema["type"] == "array" {
        if let Some((name, is_list)) = inner(&schema["items"]) {
            assert!(!is_list);
            vary(
                document,
                &name,
                &|value| around(json!([value])),
                seen,
                requests,
            );
        }
        return;
    }
    // A map or a closed set of strings: the values of every type are enough.
    let Some(members) = schema["properties"].as_object() else {
        return;
    };
    for required in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let mut without = base.clone();
        without
            .as_object_mut()
            .unwrap()
            .remove(required.as_str().unwrap());
        requests.push(around(without));
    }
    for (name, member) in members {
        let set = |value: Value| {
            let mut object = base.clone();
            object[name] = value;
            around(object)
        };
        requests.extend(kinds().into_iter().chain(edges(member)).map(set));
        // The same value together with the members that some members require.
        let set = |value: Value| {
            let mut object = base.clone();
            object[name] = value;
            match name.as_str() {
                "tool_choice" => object["tools"] = json!([{}]),
                "function_call" => object["functions"] = json!([{}]),
                _ => {}
            }
            around(object)
        };
        if matches!(name.as_str(), "tool_choice" | "function_call") {
            requests.extend(kinds().into_iter().map(set));
        }
        let list = member
            .get("oneOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for kind in [member].into_iter().chain(list) {
            if let Some((inside, is_list)) = inner(kind) {
                vary(
                    document,
                    &inside,
                    &|value| set(if is_list { json!([value]) } else { value }),
                    seen,
                    requests,
                );
            }
        }
    }
}

/// The message that a schema refers to, and whether the schema is a list of it.
fn inner(schema: &Value) -> Option<(String, bool)> {
    let name = |schema: &Value| {
        schema
            .get("$ref")
            .map(|it| it.as_str().unwrap().rsplit('/').next().unwrap().to_owned())
    };
    let items = schema
        .get("items")
        .map(|items| items.get("anyOf").map_or(items, |kinds| &kinds[0]));
    name(schema)
        .map(|name| (name, false))
        .or_else(|| Some((name(items?)?, true)))
}

#[tokio::test]
async fn the_document_and_the_gateway_accept_the_same_requests() {
    let document = Document::ours();
    // An upstream that accepts everything, so every refusal is the gateway's.
    let upstream = Scripted::always(Reply::Json(200, json!({}))).await;
    let gateway = Gateway::to(upstream.address).await;
    let client = http();
    for (path, message) in [
        ("/v1/chat/completions", "CreateChatCompletionRequest"),
        ("/v1/completions", "CreateCompletionRequest"),
        ("/v1/embeddings", "CreateEmbeddingRequest"),
        ("/v1/tokenize", "TokenizeRequest"),
    ] {
        let mut requests = Vec::new();
        vary(
            &document,
            message,
            &|value| value,
            &mut BTreeSet::new(),
            &mut requests,
        );
        if message == "CreateChatCompletionRequest" {
            // Each message again as an answer that is sent back.
            let messages: Vec<Value> = requests
                .iter()
                .filter(|request| request["messages"][0]["role"] == "user")
                .cloned()
                .collect();
            for (mut request, role) in messages
                .into_iter()
                .zip(["assistant", "tool", "x"].iter().cycle())
            {
                request["messages"][0]["role"] = json!(role);
                requests.push(request);
            }
        }
        requests.extend(kinds().into_iter().filter(|value| !value.is_object()));
        let validator = document.named(message);
        let (mut accepted, mut refused) = (0, 0);
        for request in requests {
            let post = with_json(client.post(gateway.url(path)), request.to_string());
            let response = post.send().await.unwrap();
            let (status, answer) = (response.status().as_u16(), response.text().await.unwrap());
            assert_eq!(
                validator.is_valid(&request),
                status != 400,
                "{path} {request}: {status} {answer}"
            );
            *(if status == 400 {
                &mut refused
            } else {
                &mut accepted
            }) += 1;
        }
        assert!(
            accepted >= 5 && refused >= 40,
            "{path}: {accepted} accepted, {refused} refused"
        );
    }
}
