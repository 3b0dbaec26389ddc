//! The operations of the REST door: the path, the parameters, the body and the answers of each.

use prost_types::FileDescriptorSet;
use protox::prost_reflect::{DescriptorPool, MethodDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};

use super::{
    errors::{ERRORS, OF_ANY, OF_BODY, OF_UPSTREAM},
    names::reference,
    parameters::{MODELS_QUERY, path_parameters},
    schemas::{Direction, Schemas},
    texts::{
        EVENTS, EVENTS_END, EVENTS_ERROR, GENERATED, GENERATED_STREAM, REQUEST_BODY,
        REST_DESCRIPTIONS, lower_camel, summary, tag_of, without_grpc,
    },
};
use crate::comments::Comments;

/// Methods whose calls wait for concurrency units.
const WITH_UNITS: &[&str] = &[
    "CreateChatCompletion",
    "StreamChatCompletion",
    "CreateCompletion",
    "StreamCompletion",
    "CreateEmbedding",
];

/// Methods whose calls a fallback model may answer.
const WITH_FALLBACK: &[&str] = &[
    "CreateChatCompletion",
    "StreamChatCompletion",
    "CreateCompletion",
    "StreamCompletion",
];

/// Methods that can request a stream from the upstream for a unary answer.
const VIA_STREAM: &[&str] = &["CreateChatCompletion"];

/// A short example of each request body.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "CreateChatCompletionRequest",
        r#"{
            "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
            "messages": [{"role": "user", "content": "Say hello in 5 words"}],
            "max_tokens": 50
        }"#,
    ),
    (
        "CreateCompletionRequest",
        r#"{
            "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
            "prompt": "Once upon a time",
            "max_tokens": 50
        }"#,
    ),
    (
        "CreateEmbeddingRequest",
        r#"{"model": "BAAI/bge-m3", "input": ["a text", "another text"]}"#,
    ),
    (
        "TokenizeRequest",
        r#"{
            "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
            "text": "How many tokens are these?"
        }"#,
    ),
];

/// All operations, in the order of the contract.
pub(super) fn operations(contract: &FileDescriptorSet, pool: &DescriptorPool) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    let services = contract.file.iter().flat_map(|file| {
        file.service
            .iter()
            .map(|service| format!("{}.{}", file.package(), service.name()))
    });
    for service in services {
        for method in pool.get_service_by_name(&service).unwrap().methods() {
            let (verb, path) = http_rule(pool, &method);
            let same = operations
                .iter_mut()
                .find(|operation| operation.path == path && operation.verb == verb);
            match same {
                Some(operation) => operation.methods.push(method),
                None => operations.push(Operation {
                    verb,
                    path,
                    methods: vec![method],
                }),
            }
        }
    }
    add_streams(&mut operations);
    operations
}

/// The suffix of the path of a method that streams the answer of a unary one.
const STREAM_PATH: &str = ":stream";

/// Adds each streaming method to the operation of its unary method too: in OpenAI's API, a member
/// of the body selects streaming.
fn add_streams(operations: &mut [Operation]) {
    let streams: Vec<_> = operations
        .iter()
        .filter_map(|operation| {
            let path = operation.path.strip_suffix(STREAM_PATH)?.to_owned();
            Some((path, operation.methods[0].clone()))
        })
        .collect();
    for (path, stream) in streams {
        let unary = operations
            .iter_mut()
            .find(|operation| operation.path == path)
            .expect("a path for the unary answer");
        unary.methods.push(stream);
    }
}

/// A path and a verb, with their RPCs: one RPC, or a unary RPC and its streaming RPC.
pub(super) struct Operation {
    pub(super) verb: String,
    pub(super) path: String,
    pub(super) methods: Vec<MethodDescriptor>,
}

impl Operation {
    /// Whether the body's `stream` chooses between a unary answer and a stream.
    pub(super) fn may_stream(&self) -> bool {
        self.methods.len() == 2
    }

    /// The operation as JSON of the document.
    pub(super) fn write(&self, comments: &Comments, schemas: &Schemas<'_>) -> Value {
        let comment = |method: &MethodDescriptor| {
            let name = format!("{}.{}", method.parent_service().name(), method.name());
            let instead = REST_DESCRIPTIONS
                .iter()
                .find(|(instead, _)| *instead == name);
            instead.map_or_else(
                || without_grpc(comments.on(&name)),
                |(_, instead)| (*instead).to_owned(),
            )
        };
        let method = &self.methods[0];
        let description = match self.methods.as_slice() {
            [unary, stream] => {
                format!(
                    "{}\n\nWith `\"stream\": true`: {}\n\n{GENERATED}",
                    comment(unary),
                    comment(stream)
                )
            }
            [stream] if self.path.ends_with(STREAM_PATH) => {
                format!("{}\n\n{GENERATED_STREAM}", comment(stream))
            }
            _ => comment(method),
        };
        let has_body = self.verb == "post";
        let mut parameters = path_parameters(&self.path);
        if method.name() == "ListModels" {
            parameters.extend(MODELS_QUERY.iter().map(|(name, kind, description)| {
                let schema: Value = serde_json::from_str(kind).unwrap();
                json!({
                    "name": name, "in": "query", "description": description, "schema": schema,
                })
            }));
        }
        if method.name() == "GetPlan" {
            parameters.push(json!({
                "name": "account",
                "in": "query",
                "description": "The name of the account in the gateway's configuration. Unset: \
                                the first account.",
                "schema": { "type": "string" },
            }));
        }
        let own = [
            (WITH_UNITS, "Priority"),
            (WITH_FALLBACK, "Fallback"),
            (VIA_STREAM, "UnaryViaStream"),
        ];
        let own = own
            .iter()
            .filter(|(methods, _)| methods.contains(&method.name()))
            .map(|(_, name)| *name);
        parameters.extend(
            ["RequestTimeout", "RequestId"]
                .into_iter()
                .chain(own)
                .map(|name| reference("parameters", name)),
        );
        let mut operation = json!({
            "operationId": lower_camel(method.name()),
            "tags": [tag_of(method.parent_service().name())],
            "summary": summary(&comment(method)),
            "description": description,
            "parameters": parameters,
        });
        if has_body {
            let message = method.input().name().to_owned();
            let (_, example) = EXAMPLES
                .iter()
                .find(|(name, _)| *name == message)
                .expect("an example for each body");
            let example: Value = serde_json::from_str(example).unwrap();
            let schema = schemas.reference(&message, Direction::Request);
            operation["requestBody"] = json!({
                "required": true,
                "description": REQUEST_BODY,
                "content": { "application/json": { "schema": schema, "example": example } },
            });
        }
        operation["responses"] = self.responses(has_body, schemas);
        operation
    }

    fn responses(&self, has_body: bool, schemas: &Schemas<'_>) -> Value {
        let mut content = Map::new();
        let mut descriptions = Vec::new();
        for method in &self.methods {
            let schema = schemas.reference(method.output().name(), Direction::Answer);
            if method.is_server_streaming() {
                // One schema and not a choice of two, as in OpenAI's own document: generators then
                // generate a type.
                content.insert("text/event-stream".to_owned(), json!({ "schema": schema }));
                // Only a finite stream has a normal end.
                let has_end = WITH_UNITS.contains(&method.name());
                let end = if has_end {
                    EVENTS_END
                } else {
                    "The stream has no normal end."
                };
                descriptions.push(format!("{EVENTS} {end} {EVENTS_ERROR}"));
            } else {
                content.insert("application/json".to_owned(), json!({ "schema": schema }));
                descriptions.push("The answer.".to_owned());
            }
        }
        let mut headers = json!({ "x-request-id": reference("headers", "RequestId") });
        // All callers share the upstream's stream of the account, so the stream has no upstream
        // request id of the caller's own.
        let is_shared = self.methods[0].name() == "WatchConcurrency";
        if !is_shared {
            headers["x-featherless-request-id"] = reference("headers", "FeatherlessRequestId");
        }
        if WITH_UNITS.contains(&self.methods[0].name()) {
            headers["x-featherwire-model"] = reference("headers", "Model");
            headers["x-featherwire-waited-ms"] = reference("headers", "WaitedMs");
        }
        if WITH_FALLBACK.contains(&self.methods[0].name()) {
            headers["x-featherwire-tried"] = reference("headers", "Tried");
        }
        if self.methods[0].name() == "ListModels" {
            headers["age"] = reference("headers", "Age");
        }
        let mut responses = Map::new();
        let description = descriptions.join("\n\nOr, with `\"stream\": true`: ");
        responses.insert(
            "200".to_owned(),
            json!({ "description": description, "headers": headers, "content": content }),
        );
        let mut statuses = OF_ANY.to_vec();
        // After the headers of a stream are sent, an error is an event and has no status.
        statuses.extend(if is_shared { &[] } else { OF_UPSTREAM });
        statuses.extend(if has_body { OF_BODY } else { &[] });
        statuses.sort_unstable();
        for status in statuses {
            let (_, name, ..) = ERRORS
                .iter()
                .find(|(number, ..)| *number == status)
                .unwrap();
            responses.insert(status.to_owned(), reference("responses", name));
        }
        Value::Object(responses)
    }
}

/// The verb and the path template of a method.
pub(super) fn http_rule(pool: &DescriptorPool, method: &MethodDescriptor) -> (String, String) {
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let options = method.options();
    let rule = options.get_extension(&http);
    let Reflected::Message(rule) = &*rule else {
        panic!("{}: no google.api.http", method.full_name())
    };
    let verb = ["get", "post", "patch", "delete"]
        .into_iter()
        .find(|verb| rule.has_field_by_name(verb));
    let verb = verb.unwrap_or_else(|| panic!("{}: no method of HTTP", method.full_name()));
    (
        verb.to_owned(),
        rule.get_field_by_name(verb)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned(),
    )
}

/// The router's spelling of a path template.
pub(super) fn router_path(template: &str) -> String {
    let path = template.replace("{model=*/*}", "{org}/{name}");
    assert!(!path.contains('='), "{template}: no rule for this path");
    path
}
