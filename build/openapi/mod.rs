//! Generates the OpenAPI document of the REST door from the contract.
//!
//! Paths come from the `google.api.http` options, schemas from the messages, and descriptions from
//! the comments. The parts that the contract does not define (errors, headers, query parameters,
//! probes) are constants in this module. Tests compare the document with the running gateway.

mod errors;
mod members;
mod named_values;
mod names;
mod objects;
mod operations;
mod parameters;
mod schemas;
mod texts;
mod transcoded;

use prost_types::FileDescriptorSet;
use protox::prost_reflect::DescriptorPool;
use serde_json::{Map, Value, json};

use self::{
    errors::{error_responses, error_schemas},
    names::reference,
    operations::{operations, router_path},
    parameters::{add_path_with_encoded_id, headers, parameters},
    schemas::{Direction, Schemas},
    texts::{OVERVIEW, STREAM, tag_of, without_example},
    transcoded::{Transcoded, transcoded},
};
use super::comments::Comments;

/// The document.
pub fn generate(
    contract: &FileDescriptorSet,
    in_json_of_protobuf: &FileDescriptorSet,
    pool: &DescriptorPool,
    version: &str,
) -> Value {
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
    let Transcoded {
        paths: other_paths,
        schemas: other_schemas,
        tags: other_tags,
    } = transcoded(pool, &Comments::of(in_json_of_protobuf));
    paths.extend(other_paths);
    tags.extend(other_tags);
    tags.push(
        json!({ "name": "Probes", "description": "The state of the gateway, for load \
                                                        balancers." }),
    );
    add_path_with_encoded_id(&mut paths);
    probes(&mut paths);

    let mut components = schemas.write();
    for operation in operations.iter().filter(|operation| operation.may_stream()) {
        let properties = &mut components[operation.methods[0].input().name()]["properties"];
        // The schema has no default, because generators take a member with a default as always
        // present.
        properties["stream"] = json!({ "type": ["boolean", "null"], "description": STREAM });
    }
    for (name, schema) in other_schemas {
        let before = components.insert(name.clone(), schema);
        assert!(before.is_none(), "{name}: two schemas of this name");
    }
    components.extend(error_schemas());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Featherwire",
            "version": version,
            "summary": "The gateway to Featherless.ai",
            "description": OVERVIEW,
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
                    "description": "The same key, for clients that send it in this header.",
                },
                "api_key": {
                    "type": "apiKey", "in": "header", "name": "api-key",
                    "description": "The same key, for clients that send it in this header.",
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
    let alive = json!({ "200": plain("The gateway is alive.") });
    paths.insert(
        "/healthz".to_owned(),
        probe("healthz", "Whether the gateway is alive", alive),
    );
    let ready = json!({
        "200": plain("The gateway accepts calls."),
        "503": plain(
                        "The gateway is shutting down, or has no key for the upstream. The text \
                         says which."
        ),
    });
    paths.insert(
        "/readyz".to_owned(),
        probe("readyz", "Whether the gateway accepts calls", ready),
    );
}
