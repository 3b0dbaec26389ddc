//! The texts of the document, and the conversion of the contract's comments.

/// A hint for users of clients that are generated from the document.
pub(super) const GENERATED: &str = "Most clients that are generated from this document read a body \
    as one JSON document: do not set `stream` in them. For streams, use an OpenAI SDK, or read the \
    events of the raw body.";

pub(super) const GENERATED_STREAM: &str = "Most clients that are generated from this document read \
    a body as one document: with them, read the events of the raw body.";

pub(super) const OVERVIEW: &str = "\
The gateway to [Featherless.ai](https://featherless.ai). This is its REST API, compatible with \
OpenAI's API. The same port answers gRPC, gRPC-Web and Connect (`featherwire.v1`, with reflection).

- A request with a body needs `Content-Type: application/json`.
- In a request, `null` means the same as an absent member. Write integers without a fraction: \
`1`, not `1.0`.
- If a member occurs twice in one object, the last one counts.
- A body may be compressed (`Content-Encoding: gzip`, `deflate` or `zstd`). Large answers that are \
not streamed are compressed for clients that send `Accept-Encoding: zstd` or `gzip`.
- Members that this document does not define are passed on unchanged, in both directions.
- A member of an answer may have another type than in this document. The upstream's value is passed \
on unchanged, so that a client gets the rest of the answer.
- A gateway without keys requires no key, and answers only requests to the names of its own \
machine.";

pub(super) const REQUEST_BODY: &str = "Unknown members are passed on to the upstream unchanged.";

pub(super) const STREAM: &str = "Whether to stream the answer as server-sent events. The protobuf \
    message has no such field, because the RPC selects streaming.";

pub(super) const EVENTS: &str =
    "Server-sent events, with one `data: {…}` for each chunk. Each chunk has this schema.";

pub(super) const EVENTS_END: &str = "A complete stream ends with `data: [DONE]`.";

pub(super) const EVENTS_ERROR: &str = "A stream that fails after its start ends with \
    `data: {\"error\":{…}}`, an ErrorResponse, and without `[DONE]`, so that an incomplete answer \
    never looks complete.";

/// Methods whose comment describes only gRPC, with the description for REST.
pub(super) const REST_DESCRIPTIONS: &[(&str, &str)] = &[(
    "ModelService.ListModels",
    "Lists all models. Without a query: the complete catalogue, in the upstream's order. With \
     `page_size`, `page_token` or `filter.…`: one page, sorted by id. With any other query \
     parameter: the upstream's answer to the query. Parameters of a page and of a search cannot be \
     combined.",
)];

/// A comment without its paragraphs about errors and REST. The document has its own, longer parts
/// for both.
pub(super) fn without_grpc(comment: &str) -> String {
    let is_for_rest = |paragraph: &&str| {
        !paragraph.starts_with("Errors: ") && !paragraph.starts_with("The REST equivalent ")
    };
    let paragraphs = comment.split("\n\n").filter(is_for_rest);
    let paragraphs = paragraphs.map(|paragraph| {
        paragraph
            .split("Errors are those of ")
            .next()
            .unwrap()
            .trim()
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// A service's comment without its example, which is a gRPC call.
pub(super) fn without_example(comment: &str) -> &str {
    comment.split("\n\nFor example:").next().unwrap()
}

/// `Chat` of `ChatService`.
pub(super) fn tag_of(service: &str) -> &str {
    service.trim_end_matches("Service")
}

/// The first sentence, without its full stop.
pub(super) fn summary(comment: &str) -> &str {
    comment
        .split(". ")
        .next()
        .unwrap()
        .split('\n')
        .next()
        .unwrap()
        .trim_end_matches('.')
}

pub(super) fn lower_camel(name: &str) -> String {
    name[..1].to_lowercase() + &name[1..]
}
