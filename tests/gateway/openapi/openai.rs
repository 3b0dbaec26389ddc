//! Compares the gateway's answers with OpenAI's own schemas. The schemas are not in this repository
//! for licence reasons. An environment variable has their path, and without it the test is skipped.

use serde_json::{Value, json};

use super::{
    Document,
    answers::{self, Answer},
    problems,
};

/// The file with OpenAI's `components.schemas`.
const SCHEMAS: &str = "FEATHERWIRE_OPENAI_SCHEMAS";

/// Interprets `nullable` in OpenAI's schemas as in OpenAPI 3.0. The schemas are in OpenAPI 3.1,
/// which has no such keyword.
fn nullable_means_null(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(nullable_means_null),
        Value::Object(members) => {
            members.values_mut().for_each(nullable_means_null);
            if members.remove("nullable") == Some(json!(true)) {
                let schema = Value::Object(std::mem::take(members));
                members.insert("anyOf".to_owned(), json!([schema, { "type": "null" }]));
            }
        }
        _ => {}
    }
}

/// Removes the members in which OpenAI's API itself differs from its schemas.
fn without_exceptions(answer: &Answer, mut body: Value) -> Value {
    let members = |list: &mut Value| list.as_array_mut().map(std::mem::take).unwrap_or_default();
    match answer.path {
        // Each piece of a streamed text except the last has `finish_reason: null`. The schema is
        // for
        // the unary answer.
        "/v1/completions" if answer.is_stream() && body.get("choices").is_some() => {
            let mut choices = members(&mut body["choices"]);
            for choice in choices
                .iter_mut()
                .filter(|choice| choice["finish_reason"] == json!(null))
            {
                assert!(
                    choice
                        .as_object_mut()
                        .unwrap()
                        .insert("finish_reason".to_owned(), json!("stop"))
                        .is_some()
                );
            }
            body["choices"] = json!(choices);
        }
        // With `encoding_format: base64` a vector is a string. The schema allows only numbers.
        "/v1/embeddings" if answer.what.ends_with("base64") => {
            let mut vectors = members(&mut body["data"]);
            for vector in &mut vectors {
                assert!(vector["embedding"].is_string());
                vector["embedding"] = json!([]);
            }
            body["data"] = json!(vectors);
        }
        _ => {}
    }
    body
}

/// OpenAI's schema for an answer. `None` if OpenAI has no such answer.
fn schema_of(answer: &Answer, body: &Value) -> Option<&'static str> {
    if body.get("error").is_some() {
        return Some("ErrorResponse");
    }
    match answer.path {
        "/v1/chat/completions" if answer.is_stream() => Some("CreateChatCompletionStreamResponse"),
        "/v1/chat/completions" => Some("CreateChatCompletionResponse"),
        // According to OpenAI, a streamed piece has the same schema.
        "/v1/completions" => Some("CreateCompletionResponse"),
        "/v1/embeddings" => Some("CreateEmbeddingResponse"),
        "/v1/models" => Some("ListModelsResponse"),
        "/v1/models/{org}/{name}" | "/v1/models/{name}" => Some("Model"),
        "/v1/tokenize"
        | "/v1/plan"
        | "/v1/concurrency"
        | "/v1/concurrency/stream"
        | "/healthz"
        | "/readyz" => None,
        path => panic!("{path}: no schema is assigned"),
    }
}

#[tokio::test]
async fn every_answer_is_as_openai_says() {
    let Ok(path) = std::env::var(SCHEMAS) else {
        println!("skipped: {SCHEMAS} is not set to a file with OpenAI's schemas");
        return;
    };
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{SCHEMAS}={path}: {error}"));
    let mut document = Document(serde_json::from_slice(&text).unwrap());
    nullable_means_null(&mut document.0);
    let mut validators = std::collections::BTreeMap::new();
    let mut held = std::collections::BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for answer in answers::all().await {
        for body in &answer.bodies {
            let Some(schema) = schema_of(&answer, body) else {
                continue;
            };
            *held.entry(schema).or_default() += 1;
            let validator = validators
                .entry(schema)
                .or_insert_with(|| document.named(schema));
            let found = problems(validator, &without_exceptions(&answer, body.clone()));
            if !found.is_empty() {
                wrong.push(format!("{}: {schema}: {}", answer.what, found.join("; ")));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let held: Vec<_> = held.into_keys().collect();
    assert_eq!(
        held,
        [
            "CreateChatCompletionResponse",
            "CreateChatCompletionStreamResponse",
            "CreateCompletionResponse",
            "CreateEmbeddingResponse",
            "ErrorResponse",
            "ListModelsResponse",
            "Model"
        ]
    );
}
