//! The document itself: complete, and consistent with the tables in the source.

use std::collections::{BTreeMap, BTreeSet};

use featherwire::{
    error::{Kind, TABLE},
    rest,
};
use serde_json::{Map, Value, json};

use super::Document;
use crate::support::{Emulator, Gateway, rest::http};

/// Calls `see` with every object of a document.
fn walk(value: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            object.values().for_each(|value| walk(value, see));
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, see)),
        _ => {}
    }
}

/// Method, path and operation of each.
pub fn operations(document: &Document) -> Vec<(String, String, &Value)> {
    let paths = document.0["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let item = item.as_object().unwrap().iter();
        item.map(|(method, operation)| (method.to_uppercase(), path.clone(), operation))
            .collect::<Vec<_>>()
    });
    operations.collect()
}

#[test]
fn the_document_is_valid_and_complete_openapi() {
    let document = Document::ours();
    let head = &document.0;
    assert_eq!(head["openapi"], "3.1.0");
    assert_eq!(head["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        head["info"]["license"]["identifier"],
        env!("CARGO_PKG_LICENSE")
    );
    let mut used = BTreeSet::new();
    walk(head, &mut |object| {
        if let Some(reference) = object.get("$ref") {
            document.resolve(&json!({ "$ref": reference }));
            used.insert(reference.as_str().unwrap().to_owned());
        }
    });
    for (section, components) in head["components"].as_object().unwrap() {
        for (name, component) in components.as_object().unwrap() {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
                "{name}"
            );
            let reference = format!("#/components/{section}/{name}");
            assert!(
                used.contains(&reference) || section == "securitySchemes",
                "nothing refers to {reference}"
            );
            if section == "schemas" {
                let meta = jsonschema::draft202012::meta::validate(component);
                assert!(
                    meta.is_ok(),
                    "{name}: {:?}",
                    meta.err().map(|error| error.to_string())
                );
                assert!(
                    component["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{name}"
                );
                for (member, schema) in component
                    .get("properties")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                {
                    let is_told = member == "error"
                        || schema["description"]
                            .as_str()
                            .is_some_and(|it| !it.is_empty());
                    assert!(is_told, "{name}.{member} has no description");
                }
            }
        }
    }
    for scheme in head["security"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|scheme| scheme.as_object().unwrap().keys())
    {
        assert!(
            head["components"]["securitySchemes"].get(scheme).is_some(),
            "{scheme}"
        );
    }

    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{what}: the operation id is unique"
        );
        assert!(
            head["tags"]
                .as_array()
                .unwrap()
                .iter()
                .any(|tag| tag["name"] == operation["tags"][0]),
            "{what}"
        );
        let parameters: Vec<_> = operation
            .get("parameters")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .collect();
        let parameters: Vec<_> = parameters
            .iter()
            .map(|parameter| document.resolve(parameter))
            .collect();
        for parameter in &parameters {
            let schema = document.resolve(&parameter["schema"]);
            assert!(
                schema["type"].is_string() && parameter["description"].is_string(),
                "{what}"
            );
        }
        let in_path = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path");
        let declared: Vec<_> = in_path
            .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
            .collect();
        let named: Vec<_> = path
            .split(['/', ':'])
            .filter(|segment| segment.starts_with('{'))
            .collect();
        assert_eq!(declared, named, "{what}");
        assert_eq!(
            operation.get("requestBody").is_some(),
            method == "POST" || method == "PATCH",
            "{what}"
        );
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = document.resolve(response);
            assert!(
                response["description"].is_string() && response["content"].is_object(),
                "{what} {status}"
            );
        }
    }
}

#[test]
fn the_document_has_the_routers_paths_and_no_other() {
    let document = Document::ours();
    let described: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    let probes = ["/healthz", "/readyz"].map(|path| ("GET".to_owned(), path.to_owned()));
    let routed = rest::ROUTES
        .iter()
        .chain(&rest::TRANSCODED_ROUTES)
        .map(|(method, path)| (method.to_string(), (*path).to_owned()));
    assert_eq!(described, routed.chain(probes).collect());
}

#[test]
fn errors_are_those_of_the_table() {
    let document = Document::ours();
    // No caller can read a 499, and an operation is never requested with a wrong method.
    let rows = TABLE
        .iter()
        .filter(|row| !matches!(row.kind, Kind::Cancelled | Kind::WrongMethod));
    let table: BTreeSet<String> = rows.map(|row| row.http.as_str().to_owned()).collect();
    let described: BTreeSet<String> = operations(&document)
        .iter()
        .filter(|(_, path, _)| path.starts_with("/v1/"))
        .flat_map(|(_, _, operation)| operation["responses"].as_object().unwrap().keys().cloned())
        .filter(|status| status != "200")
        .collect();
    assert_eq!(described, table);
    let types: BTreeSet<_> = TABLE
        .iter()
        .map(|row| Value::from(row.openai))
        .map(|it| it.to_string())
        .collect();
    let schemas = &document.0["components"]["schemas"];
    let error = &schemas["ErrorDetail"]["properties"];
    assert_eq!(
        schemas["ErrorResponse"]["properties"]["error"],
        json!({ "$ref": "#/components/schemas/ErrorDetail" })
    );
    let listed: BTreeSet<_> = document.resolve(&error["type"])["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    assert_eq!(listed, types);
}

#[tokio::test]
async fn every_example_is_valid_and_answered() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let document = Document::ours();
    let mut answered = BTreeMap::new();
    for (method, path, operation) in operations(&document) {
        let Some(content) = operation.pointer("/requestBody/content/application~1json") else {
            continue;
        };
        let example = &content["example"];
        assert_eq!(
            super::problems(&document.validator(&content["schema"]), example),
            [""; 0],
            "{path}"
        );
        // `admin::json` sends those of the administration, which needs a database.
        if path.starts_with("/admin/") {
            assert!(matches!(method.as_str(), "POST" | "PATCH"));
            continue;
        }
        let response = gateway.post(&path, &example).await;
        answered.insert(path, response.status().as_u16());
    }
    assert!(
        answered.len() == 6 && answered.values().all(|status| *status == 200),
        "{answered:?}"
    );
}

#[tokio::test]
async fn the_gateway_accepts_exactly_the_paths_and_queries_of_the_document() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let document = Document::ours();
    let schema = |path: &str, name: &str| {
        let parameters = document.0["paths"][path]["get"]["parameters"]
            .as_array()
            .unwrap();
        parameters
            .iter()
            .find(|parameter| parameter["name"] == name)
            .unwrap()["schema"]
            .clone()
    };
    let status = async |path: String| {
        http()
            .get(gateway.url(&path))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    for name in ["page", "per_page"] {
        let schema = schema("/v1/models", name);
        assert_eq!(
            (&schema["minimum"], &schema["maximum"]),
            (&json!(1), &json!(i32::MAX)),
            "{name}"
        );
        for good in ["1", "2", "2147483647"] {
            assert_eq!(
                status(format!("/v1/models?{name}={good}")).await,
                200,
                "{name} {good}"
            );
        }
        for bad in ["0", "-1", "2147483648", "x", "", "1.5"] {
            assert_eq!(
                status(format!("/v1/models?{name}={bad}")).await,
                400,
                "{name} {bad}"
            );
        }
    }
    let long = |chars: usize| "x".repeat(chars);
    for (path, name, good, bad) in [
        (
            "/v1/models/{org}/{name}",
            "org",
            vec![long(127), "a-b.c_d".to_owned()],
            vec![long(300), "%00".to_owned()],
        ),
        (
            "/v1/models/{org}/{name}",
            "name",
            vec![long(127), "a:b@c+d".to_owned()],
            vec![long(300), "%0a".to_owned()],
        ),
        (
            "/v1/models/{name}",
            "name",
            vec![long(256), "a/b".to_owned()],
            vec![long(257), "a/..".to_owned()],
        ),
    ] {
        let validator = document.validator(&schema(path, name));
        for (values, is_good) in [(good, true), (bad, false)] {
            for value in values {
                assert_eq!(
                    validator.is_valid(&json!(value)),
                    is_good,
                    "{path} {name}={value}"
                );
                let asked = path.replace(
                    &format!("{{{name}}}"),
                    &value.replace('/', "%2F").replace("..", "%2e%2E"),
                );
                let asked = asked.replace("{org}", "org").replace("{name}", "name");
                assert_eq!(
                    status(asked.clone()).await,
                    if is_good { 404 } else { 400 },
                    "{asked}"
                );
            }
        }
    }
}

#[test]
fn the_document_names_the_headers_of_requests() {
    let document = Document::ours();
    let of = |path: &str| {
        let parameters = document.0["paths"][path]["post"]["parameters"]
            .as_array()
            .unwrap()
            .iter();
        let parameters = parameters
            .map(|parameter| document.resolve(parameter))
            .filter(|it| it["in"] == "header");
        parameters
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    let every = ["x-request-timeout-ms", "x-request-id"];
    let [priority, fallback, unary] = [
        "x-featherwire-priority",
        "x-featherwire-fallback",
        "x-featherwire-unary-via-stream",
    ];
    assert_eq!(
        of("/v1/chat/completions"),
        [&every[..], &[priority, fallback, unary]].concat()
    );
    assert_eq!(
        of("/v1/completions"),
        [&every[..], &[priority, fallback]].concat()
    );
    assert_eq!(of("/v1/embeddings"), [&every[..], &[priority]].concat());
    assert_eq!(of("/v1/tokenize"), every);
}
