//! Writes the OpenAPI document: what the contract says of the REST door, in the words of that door.
//! Paths come from the `google.api.http` options, schemas from the messages, descriptions from the
//! comments. What the contract doesn't say (errors, headers, query parameters, the probes) is in
//! the constants below, and tests hold it to the gateway.

use prost_types::FileDescriptorSet;
use protox::prost_reflect::{DescriptorPool, MethodDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};

use super::{
    comments::Comments,
    json_schemas::{Schemas, Way},
};

/// What those need to know who generate clients from the document.
const GENERATED: &str = "A client that is generated from this document mostly reads a body as one \
                         JSON document: with it, leave `stream` out. For streams use an OpenAI \
                         SDK, or read the events of the raw body.";

const GENERATED_STREAM: &str = "A client that is generated from this document mostly reads a body \
                                as one document: with it, read the events of the raw body.";

const ABOUT: &str = "\
The gateway to [Featherless.ai](https://featherless.ai). This is its REST door, in the shape of \
                     OpenAI's API; the same port answers gRPC and gRPC-Web (`featherwire.v1`, by \
                     reflection).

- A body is JSON and says so: `Content-Type: application/json`.
- In a request, `null` is the same as leaving the member out. Integers are written without a \
                     fraction: `1`, not `1.0`.
- A body may be compressed (`Content-Encoding: gzip`, `deflate` or `zstd`), and large answers that \
                     are not streamed are compressed for who sends `Accept-Encoding: gzip`.
- Members that this document doesn't name travel both ways, unchanged.
- A member of an answer to which the upstream gave another type than the one here is passed on as \
                     it came: an answer that can't be understood in part still arrives whole.
- A gateway that runs without keys asks nobody for one, and answers only to names of its own \
                     machine.";

const REQUEST_BODY: &str = "Unknown members travel to the upstream unchanged.";

const STREAM: &str = "\
Whether to answer piece by piece, as server-sent events. Not a field of the protobuf message: \
                      there, the method says it.";

const EVENTS: &str = "\
Server-sent events, one `data: {…}` for each piece, of which each is by this schema.";
const EVENTS_END: &str = "A complete stream ends with `data: [DONE]`.";
const EVENTS_ERROR: &str = "\
A stream that fails after it has begun ends with `data: {\"error\":{…}}`, an ErrorResponse, and \
                            without `[DONE]`: an answer that was cut short never looks complete.";

/// HTTP status, its name here, the `type`s of errors that have it, and what it means. The table in
/// `src/error/table.rs`, by status; but not 405, since nothing here is asked for by a wrong method,
/// and not 499, which nobody reads.
const ERRORS: &[(&str, &str, &[&str], &str)] = &[
    (
        "400",
        "Invalid",
        &["invalid_request_error"],
        "The request is wrong: `param` is the path of the bad member. Or the model is cold or \
         still loading (`code` `model_not_ready`): wait for minutes, or take another.",
    ),
    (
        "401",
        "Unauthenticated",
        &["authentication_error"],
        "The gateway key is missing or unknown.",
    ),
    (
        "403",
        "Forbidden",
        &["permission_error"],
        "The account behind the gateway may not use this model or the API, or the gateway has no \
         keys and was called by another name than its machine's.",
    ),
    (
        "404",
        "NotFound",
        &["invalid_request_error"],
        "There is no such model; the message names those that are near.",
    ),
    (
        "413",
        "TooLarge",
        &["invalid_request_error"],
        "The request is larger than a limit, which the message names.",
    ),
    (
        "415",
        "WrongMediaType",
        &["invalid_request_error"],
        "The body doesn't say that it is JSON, or it is compressed otherwise than by gzip, \
         deflate or zstd.",
    ),
    (
        "429",
        "Saturated",
        &["rate_limit_error"],
        "All concurrency units are taken: try again soon.",
    ),
    (
        "500",
        "Internal",
        &["server_error"],
        "A bug of the gateway; its log knows more, under this answer's x-request-id.",
    ),
    (
        "502",
        "Upstream",
        &["upstream_error"],
        "The upstream answered nonsense, or not to the end.",
    ),
    (
        "503",
        "Unavailable",
        &["server_error"],
        "The upstream can't serve right now: try again. Or the gateway has no valid key for it: \
         its owner must mend that.",
    ),
    (
        "504",
        "Timeout",
        &["timeout_error"],
        "Something took longer than allowed.",
    ),
];

/// Errors that any call can have, those of calls that the upstream answers, and those of calls with
/// a body.
const OF_ANY: &[&str] = &["400", "401", "403"];
const OF_UPSTREAM: &[&str] = &["404", "429", "500", "502", "503", "504"];
const OF_BODY: &[&str] = &["413", "415"];

/// Methods of which the comment tells gRPC's side, and what REST's is.
const INSTEAD: &[(&str, &str)] = &[(
    "ModelService.ListModels",
    "Lists all models. The whole catalogue at once, in the upstream's order; with `page_size`, \
     `page_token` or `filter.…`, a page in the order of the ids; with any other query parameter, \
     what the upstream answers to the query. Parameters of a page and of a search don't go \
     together.",
)];

/// Query parameters of the catalogue: those of a page, then the upstream's own, passed on to it.
/// Name, schema, description.
const MODELS_QUERY: &[(&str, &str, &str)] = &[
    (
        "page_size",
        r#"{"type": "integer", "format": "int32", "minimum": 0, "maximum": 2147483647}"#,
        "Most models in one page; 0 means 100, and more than 1000 means 1000.",
    ),
    (
        "page_token",
        r#"{"type": "string"}"#,
        "The `next_page_token` of the page before. The filter must be the same for every page.",
    ),
    (
        "filter.search",
        r#"{"type": "string"}"#,
        "Text that the id contains, letter case aside.",
    ),
    (
        "filter.family",
        r#"{"type": "string"}"#,
        "The beginning of the model class, letter case aside.",
    ),
    (
        "filter.gated",
        r#"{"type": "boolean"}"#,
        "Only models that are, or are not, gated by a licence.",
    ),
    (
        "filter.available_on_current_plan",
        r#"{"type": "boolean"}"#,
        "Only models that the account's plan may, or may not, use.",
    ),
    ("q", r#"{"type": "string"}"#, "Text to look for."),
    ("page", COUNT, "Which page of what is searched for, from 1."),
    (
        "per_page",
        COUNT,
        "Models in one page of what is searched for.",
    ),
    (
        "family",
        r#"{"type": "string"}"#,
        "Model classes, comma-separated.",
    ),
    ("tags", r#"{"type": "string"}"#, "Tags."),
    (
        "available_on_current_plan",
        r#"{"type": "boolean"}"#,
        "Only models that the account's plan may use.",
    ),
];

const COUNT: &str =
    r#"{"type": "integer", "format": "int32", "minimum": 1, "maximum": 2147483647}"#;

/// One part of a model's id, and a whole id or an alias. The gateway takes more, up to 256 bytes of
/// anything but control characters, but no model is called so.
const ID_PART: &str = "^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*$";
const ID: &str = "^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.:@+-]*)?$";
const ID_PART_CHARS_MAX: usize = 127;
const ID_CHARS_MAX: usize = 256;

/// Methods by what their calls are to the gateway's scheduler and router. Those that wait for
/// units, of them those that another model may answer, and of them those that can be streamed
/// upstream.
const WITH_UNITS: &[&str] = &[
    "CreateChatCompletion",
    "StreamChatCompletion",
    "CreateCompletion",
    "StreamCompletion",
    "CreateEmbedding",
];
const WITH_FALLBACK: &[&str] = &[
    "CreateChatCompletion",
    "StreamChatCompletion",
    "CreateCompletion",
    "StreamCompletion",
];
const VIA_STREAM: &[&str] = &["CreateChatCompletion"];

/// A body for each request, short enough to try.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "CreateChatCompletionRequest",
        r#"{"model": "meta-llama/Meta-Llama-3.1-8B-Instruct", "messages": [{"role": "user", "content": "Say hello in 5 words"}], "max_tokens": 50}"#,
    ),
    (
        "CreateCompletionRequest",
        r#"{"model": "meta-llama/Meta-Llama-3.1-8B-Instruct", "prompt": "Once upon a time", "max_tokens": 50}"#,
    ),
    (
        "CreateEmbeddingRequest",
        r#"{"model": "BAAI/bge-m3", "input": ["a text", "another text"]}"#,
    ),
    (
        "TokenizeRequest",
        r#"{"model": "meta-llama/Meta-Llama-3.1-8B-Instruct", "text": "How many tokens are these?"}"#,
    ),
];

/// The document as JSON text.
pub fn generate(contract: &FileDescriptorSet, pool: &DescriptorPool, version: &str) -> String {
    let comments = Comments::of(contract);
    let mut twins: Vec<Twin> = Vec::new();
    for file in &contract.file {
        for service in &file.service {
            let service = pool
                .get_service_by_name(&format!("{}.{}", file.package(), service.name()))
                .unwrap();
            for method in service.methods() {
                let (verb, path) = rest_twin(pool, &method);
                match twins
                    .iter_mut()
                    .find(|twin| twin.path == path && twin.verb == verb)
                {
                    Some(twin) => twin.methods.push(method),
                    None => twins.push(Twin {
                        verb,
                        path,
                        methods: vec![method],
                    }),
                }
            }
        }
    }
    may_stream(&mut twins);
    let methods = || twins.iter().flat_map(|twin| &twin.methods);
    let requests = methods().map(|method| (method.input().name().to_owned(), Way::Request));
    let answers = methods().map(|method| (method.output().name().to_owned(), Way::Answer));
    let roots: Vec<_> = requests.chain(answers).collect();
    let schemas = Schemas::new(contract, &comments, &roots);

    let mut paths = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    for twin in &twins {
        let service = twin.methods[0].parent_service().name();
        if !tags.iter().any(|tag| tag["name"] == tag_of(service)) {
            tags.push(json!({ "name": tag_of(service), "description": without_example(comments.on(service)) }));
        }
        let mut item = Map::new();
        item.insert(twin.verb.clone(), twin.operation(&comments, &schemas));
        paths.insert(router_path(&twin.path), Value::Object(item));
    }
    tags.push(json!({ "name": "Probes", "description": "Whether to send calls here." }));
    second_spelling(&mut paths);
    probes(&mut paths);

    let mut components = schemas.write();
    for twin in twins.iter().filter(|twin| twin.is_either()) {
        let properties = &mut components[twin.methods[0].input().name()]["properties"];
        // Without its default, false: a member that has one counts as always there for generators.
        properties["stream"] = json!({ "type": ["boolean", "null"], "description": STREAM });
    }
    components.extend(error_schemas());
    let document = json!({
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
                "gateway_key": { "type": "http", "scheme": "bearer", "description": "A key of this gateway: `gw_…`." },
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
    });
    serde_json::to_string(&document).unwrap()
}

/// What ends the path of a method that streams what another one answers whole.
const STREAM_PATH: &str = ":stream";

/// Adds streams to the twins of the unary methods that have one: in OpenAI's shape, a member of the
/// body asks for it.
fn may_stream(twins: &mut [Twin]) {
    let streams: Vec<_> = twins
        .iter()
        .filter_map(|twin| {
            Some((
                twin.path.strip_suffix(STREAM_PATH)?.to_owned(),
                twin.methods[0].clone(),
            ))
        })
        .collect();
    for (path, stream) in streams {
        let whole = twins
            .iter_mut()
            .find(|twin| twin.path == path)
            .expect("a path for the whole answer");
        whole.methods.push(stream);
    }
}

/// One path and verb, and the RPCs that it stands for: one, or a unary one and its stream.
struct Twin {
    verb: String,
    path: String,
    methods: Vec<MethodDescriptor>,
}

impl Twin {
    /// Whether the body's `stream` picks the RPC.
    fn is_either(&self) -> bool {
        self.methods.len() == 2
    }

    fn operation(&self, comments: &Comments, schemas: &Schemas<'_>) -> Value {
        let comment = |method: &MethodDescriptor| {
            let name = format!("{}.{}", method.parent_service().name(), method.name());
            let instead = INSTEAD.iter().find(|(instead, _)| *instead == name);
            instead.map_or_else(
                || without_grpc(comments.on(&name)),
                |(_, instead)| (*instead).to_owned(),
            )
        };
        let method = &self.methods[0];
        let description = match self.methods.as_slice() {
            [whole, stream] => {
                format!(
                    "{}\n\nWith `\"stream\": true`: {}\n\n{GENERATED}",
                    comment(whole),
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
                json!({ "name": name, "in": "query", "description": description, "schema": schema })
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
            operation["requestBody"] = json!({ "required": true, "description": REQUEST_BODY, "content": {
                "application/json": {
                    "schema": schemas.reference(&message, Way::Request),
                    "example": serde_json::from_str::<Value>(example).unwrap(),
                },
            } });
        }
        operation["responses"] = self.responses(has_body, schemas);
        operation
    }

    fn responses(&self, has_body: bool, schemas: &Schemas<'_>) -> Value {
        let mut content = Map::new();
        let mut told = Vec::new();
        for method in &self.methods {
            let schema = schemas.reference(method.output().name(), Way::Answer);
            if method.is_server_streaming() {
                // One schema and no choice of two, as in OpenAI's own document: generators make a
                // type of it.
                content.insert("text/event-stream".to_owned(), json!({ "schema": schema }));
                // Only a stream that has an end can end well.
                let has_end = WITH_UNITS.contains(&method.name());
                let end = if has_end {
                    EVENTS_END
                } else {
                    "It has no end of its own."
                };
                told.push(format!("{EVENTS} {end} {EVENTS_ERROR}"));
            } else {
                content.insert("application/json".to_owned(), json!({ "schema": schema }));
                told.push("The answer.".to_owned());
            }
        }
        let mut headers = json!({ "x-request-id": reference("headers", "RequestId") });
        // A stream of the account's is shared by all who watch: none of the upstream's answers is
        // theirs alone.
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
        responses.insert(
            "200".to_owned(),
            json!({ "description": told.join("\n\nOr, with `\"stream\": true`: "), "headers": headers, "content": content }),
        );
        let mut statuses = OF_ANY.to_vec();
        // Once a stream's head is sent, an error is an event: it has no status.
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

fn rest_twin(pool: &DescriptorPool, method: &MethodDescriptor) -> (String, String) {
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let options = method.options();
    let rule = options.get_extension(&http);
    let Reflected::Message(rule) = &*rule else {
        panic!("{}: no google.api.http", method.full_name())
    };
    let verb = ["get", "post"]
        .into_iter()
        .find(|verb| rule.has_field_by_name(verb));
    let verb = verb.unwrap_or_else(|| panic!("{}: neither get nor post", method.full_name()));
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
fn router_path(template: &str) -> String {
    let path = template.replace("{model=*/*}", "{org}/{name}");
    assert!(!path.contains('='), "{template}: no rule for this path");
    path
}

fn path_parameters(template: &str) -> Vec<Value> {
    let parameter = |name: &str, description: &str| {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": ID_PART_CHARS_MAX, "pattern": ID_PART });
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
    };
    match template.contains("{model=*/*}") {
        true => vec![
            parameter(
                "org",
                "What is before the slash of the model's id. Case-sensitive.",
            ),
            parameter(
                "name",
                "What is after the slash of the model's id. Case-sensitive.",
            ),
        ],
        false => Vec::new(),
    }
}

/// OpenAI's SDKs write the slash of a model's id as `%2F`: the same call by another path.
fn second_spelling(paths: &mut Map<String, Value>) {
    let mut operation = paths["/v1/models/{org}/{name}"]["get"].clone();
    operation["operationId"] = json!("getModelByName");
    let description = operation["description"].as_str().unwrap();
    operation["description"] = json!(format!(
        "{description}\n\nThe id in one segment, its slash written as `%2F`: so OpenAI's SDKs ask."
    ));
    let parameters = operation["parameters"].as_array_mut().unwrap();
    parameters.remove(0);
    parameters[0]["description"] = json!("The model's id, or an alias. Case-sensitive.");
    parameters[0]["schema"] =
        json!({ "type": "string", "minLength": 1, "maxLength": ID_CHARS_MAX, "pattern": ID });
    let after = paths
        .keys()
        .position(|path| path == "/v1/models/{org}/{name}")
        .unwrap()
        + 1;
    paths.shift_insert(
        after,
        "/v1/models/{name}".to_owned(),
        json!({ "get": operation }),
    );
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
            "operationId": id, "tags": ["Probes"], "summary": summary, "security": [], "responses": responses,
        } })
    };
    let alive = json!({ "200": plain("It is.") });
    paths.insert(
        "/healthz".to_owned(),
        probe("healthz", "Whether the gateway is alive", alive),
    );
    let ready = json!({
        "200": plain("It is."),
        "503": plain("Not now: it is about to stop, or has no key for the upstream. The text says which."),
    });
    paths.insert(
        "/readyz".to_owned(),
        probe("readyz", "Whether the gateway wants calls", ready),
    );
}

fn error_schemas() -> [(String, Value); 3] {
    let mut types: Vec<&str> = ERRORS
        .iter()
        .flat_map(|(_, _, types, _)| *types)
        .copied()
        .collect();
    types.sort_unstable();
    types.dedup();
    let response = json!({
        "description": "What went wrong, in OpenAI's shape.",
        "type": "object",
        "required": ["error"],
        "additionalProperties": false,
        "properties": { "error": reference("schemas", "ErrorDetail") },
    });
    let detail = json!({
        "description": "What went wrong.",
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "additionalProperties": false,
        "properties": {
            "message": { "type": "string", "description": "What happened and what to do about it, for people." },
            "type": {
                "$ref": "#/components/schemas/ErrorType",
                "description": "The kind of error.",
            },
            "param": { "type": ["string", "null"], "description": "The path of the bad member, if it is about one." },
            "code": { "type": "string", "description": "The error's name, for programs." },
        },
    });
    let kinds = json!({ "description": "The kinds of errors.", "type": "string", "enum": types });
    [
        ("ErrorResponse", response),
        ("ErrorDetail", detail),
        ("ErrorType", kinds),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

fn error_responses() -> Value {
    let responses = ERRORS.iter().map(|(status, name, _, description)| {
        let mut headers = json!({
            "x-request-id": reference("headers", "RequestId"),
            "x-featherless-request-id": reference("headers", "FeatherlessRequestId"),
        });
        if matches!(*status, "429" | "503") {
            headers["retry-after"] = reference("headers", "RetryAfter");
        }
        let content =
            json!({ "application/json": { "schema": reference("schemas", "ErrorResponse") } });
        let response =
            json!({ "description": description, "headers": headers, "content": content });
        ((*name).to_owned(), response)
    });
    Value::Object(responses.collect())
}

fn parameters() -> Value {
    json!({
        "RequestTimeout": {
            "name": "x-request-timeout-ms", "in": "header",
            "description": "For how long the caller waits for the whole answer, in milliseconds.",
            "schema": { "type": "integer", "format": "int64", "minimum": 1 },
        },
        "RequestId": {
            "name": "x-request-id", "in": "header",
            "description": "The caller's id for this call, found again in the answer and in the gateway's log. One that \
                            is no visible ASCII or longer than 128 characters is replaced.",
            "schema": { "type": "string" },
        },
        "Priority": {
            "name": "x-featherwire-priority", "in": "header",
            "description": "Who goes first when concurrency units are short. Unset: `default`.",
            "schema": reference("schemas", "Priority"),
        },
        "Fallback": {
            "name": "x-featherwire-fallback", "in": "header",
            "description": "Other models that may answer when this one can't, in order and with commas between them, at \
                            most 8; or `none`, also not those that the gateway's configuration has.",
            "schema": { "type": "string" },
            "example": "org/model, org/other-model",
        },
        "UnaryViaStream": {
            "name": "x-featherwire-unary-via-stream", "in": "header",
            "description": "Whether the gateway asks the upstream for a stream though the answer is to be whole, and adds it \
                            up: a silent call dies in front of the upstream after about 100 seconds. Unset: as the \
                            gateway's configuration says.",
            "schema": { "type": "boolean" },
        },
    })
}

fn headers() -> Value {
    json!({
        "Model": {
            "description": "The id of the model that answers, if it isn't what the request calls it: an alias stands for \
                            it, or it is a fallback.",
            "schema": { "type": "string" },
        },
        "Tried": {
            "description": "The models that were tried before the one that answers and why each failed: `org/model=code`, \
                            with commas between.",
            "schema": { "type": "string" },
        },
        "WaitedMs": {
            "description": "How long the call waited for concurrency units, in milliseconds. A stream that waited so long \
                            that it began before its answer says this, and the other two, in comments.",
            "schema": { "type": "integer", "format": "int64", "minimum": 0 },
        },
        "RequestId": {
            "description": "The call's id, the caller's or the gateway's: what the gateway's log has it under.",
            "required": true,
            "schema": { "type": "string" },
        },
        "FeatherlessRequestId": {
            "description": "The upstream's id for its answer, if this one is made of it.",
            "schema": { "type": "string" },
        },
        "RetryAfter": {
            "description": "Seconds after which another try makes sense, if that is known.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Age": {
            "description": "Seconds since the catalogue came from the upstream. Not with a query, which is asked there.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

fn reference(section: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{section}/{name}") })
}

/// A comment without what it says of errors and of REST: the former are gRPC's, and here both are
/// told at length.
fn without_grpc(comment: &str) -> String {
    let is_ours = |paragraph: &&str| {
        !paragraph.starts_with("Errors: ") && !paragraph.starts_with("The REST twin is ")
    };
    let paragraphs = comment.split("\n\n").filter(is_ours);
    let paragraphs = paragraphs.map(|paragraph| {
        paragraph
            .split("Errors are those of ")
            .next()
            .unwrap()
            .trim()
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// A service's comment without the call that it shows, which is gRPC's.
fn without_example(comment: &str) -> &str {
    comment.split("\n\nFor example:").next().unwrap()
}

/// `Chat` of `ChatService`.
fn tag_of(service: &str) -> &str {
    service.trim_end_matches("Service")
}

/// The first sentence, without its full stop.
fn summary(comment: &str) -> &str {
    comment
        .split(". ")
        .next()
        .unwrap()
        .split('\n')
        .next()
        .unwrap()
        .trim_end_matches('.')
}

fn lower_camel(name: &str) -> String {
    name[..1].to_lowercase() + &name[1..]
}
