//! The texts of the document, and what is made of the contract's comments.

/// A hint for clients that are generated from the document.
pub(super) const GENERATED: &str = "Most clients that are generated from this document read a body \
    as one JSON document: leave `stream` out in them. For streams use an OpenAI SDK, or read the \
    events of the raw body.";

pub(super) const GENERATED_STREAM: &str = "Most clients that are generated from this document read \
    a body as one document: read the events of the raw body in them.";

pub(super) const ABOUT: &str = "\
The gateway to [Featherless.ai](https://featherless.ai). This is its REST API, in the shape of \
OpenAI's. The same port answers gRPC and gRPC-Web (`featherwire.v1`, with reflection).

- A request with a body says that it is JSON: `Content-Type: application/json`.
- In a request, `null` is the same as leaving the member out. Write integers without a fraction: \
`1`, not `1.0`.
- Of a member that comes twice in one object, the last one counts.
- A body may be compressed (`Content-Encoding: gzip`, `deflate` or `zstd`). Large answers that are \
not streamed are compressed for clients that send `Accept-Encoding: gzip`.
- Members that this document doesn't name are passed on unchanged, in both directions.
- A member of an answer may have another type than the one here: the upstream's value is passed on \
as it is, so that a client gets the rest of the answer.
- A gateway without keys asks for none, and answers only to names of its own machine.";

pub(super) const REQUEST_BODY: &str = "Unknown members are passed on to the upstream unchanged.";

pub(super) const STREAM: &str = "Whether to stream the answer as server-sent events. The protobuf \
    message has no such field, because the method says it.";

pub(super) const EVENTS: &str =
    "Server-sent events, with one `data: {…}` for each chunk. Each chunk has this schema.";

pub(super) const EVENTS_END: &str = "A complete stream ends with `data: [DONE]`.";

pub(super) const EVENTS_ERROR: &str = "A stream that fails after it has begun ends with \
    `data: {\"error\":{…}}`, an ErrorResponse, and without `[DONE]`: an answer that was cut \
    short never looks complete.";

/// Methods whose comment describes gRPC, with the description for REST.
pub(super) const INSTEAD: &[(&str, &str)] = &[(
    "ModelService.ListModels",
    "Lists all models. Without a query: the whole catalogue at once, in the upstream's order. \
     With `page_size`, `page_token` or `filter.…`: one page, in the order of the ids. With any \
     other query parameter: what the upstream answers to the query. Parameters of a page and of a \
     search can't be combined.",
)];

/// A comment without its paragraphs on errors, which are about gRPC, and on REST. The document has
/// its own, longer parts for both.
pub(super) fn without_grpc(comment: &str) -> String {
    let is_kept = |paragraph: &&str| {
        !paragraph.starts_with("Errors: ") && !paragraph.starts_with("The REST twin is ")
    };
    let paragraphs = comment.split("\n\n").filter(is_kept);
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
