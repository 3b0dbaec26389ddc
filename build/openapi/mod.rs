//! Writes the OpenAPI document: what the contract says of the REST door, in the terms of REST.
//!
//! Paths come from the `google.api.http` options, schemas from the messages, and descriptions from
//! the comments. Whatever the contract does not say (errors, headers, query parameters, probes) is
//! in the constants here. Tests compare both with the running gateway.

mod errors;
mod members;
mod named_values;
mod names;
mod objects;
mod operations;
mod parameters;
mod schemas;
mod texts;

use prost_types::FileDescriptorSet;
use protox::prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};

use self::{
    errors::{error_responses, error_schemas},
    names::reference,
    operations::{operations, router_path},
    parameters::{headers, parameters, second_spelling},
    schemas::{Direction, Schemas},
    texts::{ABOUT, STREAM, tag_of, without_example},
};
use super::comments::Comments;

/// The document.
pub fn generate(contract: &FileDescriptorSet, pool: &DescriptorPool, version: &str) -> Value {
    let comments = Comments::of(contract);
    let operations = operations(contract, pool);
    let methods = || operations.iter().flat_map(|operation| &operation.methods);
    let requests = methods().map(|method| (method.input().name().to_owned(), Direction::Request));
    let answers = methods().map(|method| (method.output().name().to_owned(), Direction::Answer));
    let roots: Vec<_> = requests.chain(answers).collect();
    let schemas = Schemas::new(contract, &comments, &roots);

    let mut paths = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    for operation in &operations {
        let service = operation.methods[0].parent_service().name();
        if !tags.iter().any(|tag| tag["name"] == tag_of(service)) {
            let description = without_example(comments.on(service));
            tags.push(json!({ "name": tag_of(service), "description": description }));
        }
        let mut item = Map::new();
        item.insert(operation.verb.clone(), operation.write(&comments, &schemas));
        paths.insert(router_path(&operation.path), Value::Object(item));
    }
    tags.push(json!({ "name": "Probes", "description": "Whether to send calls here." }));
    second_spelling(&mut paths);
    probes(&mut paths);

    let mut components = schemas.write();
    for operation in operations.iter().filter(|operation| operation.may_stream()) {
        let properties = &mut components[operation.methods[0].input().name()]["properties"];
        // Without its default, false: generators take a member with a default as always present.
        properties["stream"] = json!({ "type": ["boolean", "null"], "description": STREAM });
    }
    components.extend(error_schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Featherwire",
            "version": version,
            "summary": "The gateway to Featherless.ai",
            "description": ABOUT,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This gateway" }],
        "security": [{ "gateway_key": [] }, { "x_api_key": [] }, { "api_key": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": error_responses(),
            "parameters": parameters(),
            "headers": headers(),
            "securitySchemes": {
                "gateway_key": {
                    "type": "http", "scheme": "bearer",
                    "description": "A key of this gateway: `gw_…`.",
                },
                "x_api_key": {
                    "type": "apiKey", "in": "header", "name": "x-api-key",
                    "description": "The same key, for clients that show it so.",
                },
                "api_key": {
                    "type": "apiKey", "in": "header", "name": "api-key",
                    "description": "The same key, for clients that show it so.",
                },
            },
        },
    })
}

fn probes(paths: &mut Map<String, Value>) {
    let plain = |description: &str| {
        json!({
            "description": description,
            "headers": { "x-request-id": reference("headers", "RequestId") },
            "content": { "text/plain": { "schema": { "type": "string" } } },
        })
    };
    let probe = |id: &str, summary: &str, responses: Value| {
        json!({ "get": {
            "operationId": id, "tags": ["Probes"], "summary": summary, "security": [],
            "responses": responses,
        } })
    };
    let alive = json!({ "200": plain("It is.") });
    paths.insert(
        "/healthz".to_owned(),
        probe("healthz", "Whether the gateway is alive", alive),
    );
    let ready = json!({
        "200": plain("It is."),
        "503": plain(
            "Not now: it is about to stop, or has no key for the upstream. The text says which."
        ),
    });
    paths.insert(
        "/readyz".to_owned(),
        probe("readyz", "Whether the gateway wants calls", ready),
    );
}
