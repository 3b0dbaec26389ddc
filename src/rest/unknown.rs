//! The errors for unknown paths, with advice: the right base URL, or another setting of the client.
//! The gateway does not rewrite paths, because with a wrong base URL the client's next request with
//! another path would fail.

use axum::{extract::Request, response::Response};
use http::{HeaderMap, Method, Uri};

use super::routes::{ROUTES, TRANSCODED_ROUTES};
use crate::error::{Error, ErrorCode};

const RESPONSES: &str = "This is OpenAI's Responses API, which Featherless does not have: switch \
                         the client to chat completions. In the openai SDKs call \
                         client.chat.completions.create; in the AI SDK use createOpenAICompatible \
                         of @ai-sdk/openai-compatible, or provider.chat(model); in the OpenAI \
                         Agents SDK use OpenAIChatCompletionsModel; in Codex set wire_api = \
                         \"chat\"; in LangChain set use_responses_api=False";
const ANTHROPIC: &str = "This is Anthropic's API: use a client of OpenAI's instead (an openai \
                         SDK, or the \"OpenAI compatible\" provider of the tool), which calls \
                         POST /v1/chat/completions";
const AZURE: &str = "This is Azure's API: use the plain OpenAI client instead (OpenAI, not \
                     AzureOpenAI), with the base URL that ends in /v1, and the model's id in the \
                     member model of POST /v1/chat/completions";
const OLLAMA: &str = "This is Ollama's API: choose the \"OpenAI compatible\" provider of the \
                      client instead of Ollama, with the base URL that ends in /v1; it calls POST \
                      /v1/chat/completions and GET /v1/models";
const GEMINI: &str = "This is Google's Gemini API: choose the \"OpenAI compatible\" provider of \
                      the client instead, with the base URL that ends in /v1; it calls POST \
                      /v1/chat/completions";
const COHERE: &str =
    "This is Cohere's API: use a client of OpenAI's instead, which calls POST /v1/chat/completions";
const BEDROCK: &str = "This is Amazon Bedrock's API: use a client of OpenAI's instead, which \
                       calls POST /v1/chat/completions";
const ENGINES: &str = "OpenAI removed this form: the model's id goes into the member \
                       model of POST /v1/completions or POST /v1/chat/completions, and GET \
                       /v1/models lists the models";
const LOCAL: &str = "This is the API of another server (text-generation-inference, llama.cpp, \
                     KoboldCpp, LM Studio or the like): choose the \"OpenAI compatible\" provider \
                     of the client, with the base URL that ends in /v1; it calls POST \
                     /v1/chat/completions";
const RERANK: &str = "Featherless has no reranking: POST /v1/embeddings gives vectors that can be \
                      compared, or ask another provider for it";
const NOT_HERE: &str = "Featherless supports chats, texts, embeddings and tokens (POST \
                        /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/tokenize), and \
                        has none of OpenAI's other endpoints: turn this feature of the client \
                        off, or give it another provider";
const BILLING: &str = "Featherless bills by the month and not by the token: GET /v1/plan has the \
                       plan, and GET /v1/concurrency the units in use";
const KEY_METHODS: &str = "The methods of a key are POST /admin/v1/keys/{id}:rotate and POST \
                           /admin/v1/keys/{id}:revoke: to disable a key or to enable it, PATCH \
                           /admin/v1/keys/{id} with {\"disabled\": true} or false";
const PROBES: &str = "The probes are GET /healthz and GET /readyz";

/// Paths of other APIs, in lower case, and the advice for each. The first match counts. `*` is one
/// segment, and `**` is any number of segments.
const ADVICE: &[(&str, &str)] = &[
    ("/v1/responses/**", RESPONSES),
    ("/responses/**", RESPONSES),
    ("/backend-api/**", RESPONSES),
    ("/v1/messages/**", ANTHROPIC),
    ("/messages/**", ANTHROPIC),
    ("/anthropic/**", ANTHROPIC),
    ("/v1/complete", ANTHROPIC),
    ("/complete", ANTHROPIC),
    ("/openai/deployments/**", AZURE),
    ("/deployments/**", AZURE),
    ("/openai/responses/**", RESPONSES),
    ("/openai/models/**", AZURE),
    ("/api/chat", OLLAMA),
    ("/api/generate", OLLAMA),
    ("/api/tags", OLLAMA),
    ("/api/show", OLLAMA),
    ("/api/embed", OLLAMA),
    ("/api/embeddings", OLLAMA),
    ("/api/ps", OLLAMA),
    ("/api/version", OLLAMA),
    ("/api/pull", OLLAMA),
    ("/api/push", OLLAMA),
    ("/api/create", OLLAMA),
    ("/api/copy", OLLAMA),
    ("/api/delete", OLLAMA),
    ("/api/blobs/**", OLLAMA),
    ("/v1/api/chat", OLLAMA),
    ("/v1/api/generate", OLLAMA),
    ("/v1/api/tags", OLLAMA),
    ("/v1/api/show", OLLAMA),
    ("/v1/api/embed", OLLAMA),
    ("/v1/api/version", OLLAMA),
    ("/v1beta/openai/**", GEMINI),
    ("/v1beta/**", GEMINI),
    ("/v1alpha/**", GEMINI),
    ("/v1beta1/**", GEMINI),
    ("/v1/projects/**", GEMINI),
    ("/v1/chat", COHERE),
    ("/v2/chat", COHERE),
    ("/v1/generate", COHERE),
    ("/v2/embed", COHERE),
    ("/v1/embed", COHERE),
    ("/model/*/**", BEDROCK),
    ("/v1/engines/**", ENGINES),
    ("/engines/**", ENGINES),
    ("/v1/rerank", RERANK),
    ("/v2/rerank", RERANK),
    ("/rerank", RERANK),
    ("/v1/score", RERANK),
    ("/score", RERANK),
    ("/generate", LOCAL),
    ("/generate_stream", LOCAL),
    ("/completion", LOCAL),
    ("/infill", LOCAL),
    ("/props", LOCAL),
    ("/slots", LOCAL),
    ("/api/v0/**", LOCAL),
    ("/api/v1/generate", LOCAL),
    ("/api/v1/model", LOCAL),
    ("/api/extra/**", LOCAL),
    ("/invocations", LOCAL),
    ("/health", PROBES),
    ("/v1/health", PROBES),
    ("/livez", PROBES),
    ("/health/**", PROBES),
    ("/ready", PROBES),
    ("/ping", PROBES),
    ("/v1/usage/*/**", BILLING),
    ("/v1/dashboard/**", BILLING),
    ("/dashboard/**", BILLING),
    ("/v1/organization/**", BILLING),
    ("/v1/credits", BILLING),
    ("/v1/auth/key", BILLING),
    ("/v1/assistants/**", NOT_HERE),
    ("/v1/audio/**", NOT_HERE),
    ("/v1/batches/**", NOT_HERE),
    ("/v1/chatkit/**", NOT_HERE),
    ("/v1/containers/**", NOT_HERE),
    ("/v1/conversations/**", NOT_HERE),
    ("/v1/edits", NOT_HERE),
    ("/v1/evals/**", NOT_HERE),
    ("/v1/files/**", NOT_HERE),
    ("/v1/fine-tunes/**", NOT_HERE),
    ("/v1/fine_tuning/**", NOT_HERE),
    ("/v1/images/**", NOT_HERE),
    ("/v1/moderations", NOT_HERE),
    ("/v1/realtime/**", NOT_HERE),
    ("/v1/threads/**", NOT_HERE),
    ("/v1/uploads/**", NOT_HERE),
    ("/v1/vector_stores/**", NOT_HERE),
    ("/v1/videos/**", NOT_HERE),
    ("/audio/**", NOT_HERE),
    ("/images/**", NOT_HERE),
    ("/moderations", NOT_HERE),
];

/// The response to a path without a route.
pub async fn unknown_path(request: Request) -> Response {
    let (method, uri) = (request.method(), request.uri());
    let what = match advice(method, uri, request.headers()) {
        Some(advice) => advice,
        None => {
            let known: Vec<_> = ROUTES
                .iter()
                .chain(&TRANSCODED_ROUTES)
                .map(|(method, path)| format!("{method} {path}"))
                .collect();
            format!("The paths are {}, and those of gRPC", known.join(", "))
        }
    };
    let message = format!(
        "No such path: {method} {}. {what}. See GET /docs",
        shortened(uri.path())
    );
    Error::new(ErrorCode::UnknownPath, message).into_response()
}

/// The response to a path that does not support the HTTP method.
pub(super) async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let mut message = format!(
        "{path} does not support {method}: the Allow header lists the methods that it supports"
    );
    // Gemini's paths have a method after the model's id, so they look like the path of a model.
    if path.contains(":generateContent")
        || path.contains(":streamGenerateContent")
        || path.contains(":embedContent")
    {
        message = format!("{message}. {GEMINI}");
    }
    Error::new(ErrorCode::MethodNotAllowed, message).into_response()
}

/// The longest part of a path that an error quotes, in characters.
const PATH_CHARS_MAX: usize = 200;

fn shortened(path: &str) -> &str {
    path.char_indices()
        .nth(PATH_CHARS_MAX)
        .and_then(|(end, _)| path.get(..end))
        .unwrap_or(path)
}

/// The advice for a path that does not exist.
fn advice(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let path_segments: Vec<&str> = uri
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let lower_segments: Vec<String> = path_segments
        .iter()
        .map(|segment| segment.to_ascii_lowercase())
        .collect();
    let lower_segments: Vec<&str> = lower_segments.iter().map(String::as_str).collect();
    if ROUTES
        .iter()
        .chain(&TRANSCODED_ROUTES)
        .any(|(_, route)| matches_pattern(route, &lower_segments))
    {
        let advice = key_method(&lower_segments).map(str::to_owned);
        let advice = advice.or_else(|| spelling_advice(uri.path(), &path_segments));
        if advice.is_some() {
            return advice;
        }
    }
    if let Some(advice) = other_api(&lower_segments) {
        return Some(advice.to_owned());
    }
    let base = base_url(uri, headers);
    if lower_segments.as_slice() == ["v1"] {
        return Some(format!(
            "This is the base URL, {base}, and clients put a path behind it, such as \
             /chat/completions"
        ));
    }
    // The part before one of the gateway's paths is the client's base URL, which is wrong.
    let begins = (0..lower_segments.len()).rev().filter_map(|begin| {
        let rest = lower_segments.get(begin..)?;
        let route = ROUTES
            .iter()
            .find(|(_, route)| matches_below_v1(route, rest))?;
        Some((begin, route))
    });
    // The same applies to the part before the `/v1` in another API's path.
    let other = || {
        let versions = (1..lower_segments.len())
            .filter_map(|begin| lower_segments.get(begin..))
            .filter(|rest| rest.first() == Some(&"v1"));
        versions.filter_map(other_api).next().map(str::to_owned)
    };
    let found = begins
        .min_by_key(|(begin, _)| *begin)
        .or_else(|| below_endpoint(&lower_segments));
    let Some((begin, (_, route))) = found else {
        return other();
    };
    let before = lower_segments.get(..begin).unwrap_or_default();
    let why = match () {
        () if before.is_empty() => "it lacks the /v1",
        () if before.iter().filter(|segment| **segment == "v1").count() > 1 => {
            "it has the /v1 twice"
        }
        () if before.first() == Some(&"v1") => "it continues after the /v1",
        () if before.last() == Some(&"v1") => "it has something before the /v1",
        () => "it does not end in /v1",
    };
    Some(format!(
        "The client's base URL is not right, {why}: the base URL ends in /v1, {base} here, so \
         that the client calls {method} {route}"
    ))
}

/// The advice for a path of another API.
fn other_api(path: &[&str]) -> Option<&'static str> {
    ADVICE
        .iter()
        .find(|(pattern, _)| matches_pattern(pattern, path))
        .map(|(_, advice)| *advice)
}

/// Matches a path after a base URL that is a complete endpoint, such as `/v1/chat/completions`.
fn below_endpoint(lower_segments: &[&str]) -> Option<(usize, &'static (Method, &'static str))> {
    let is_one = |begin: &usize| {
        let endpoint = lower_segments.get(..*begin).unwrap_or_default();
        ROUTES
            .iter()
            .any(|(method, route)| method == Method::POST && matches_pattern(route, endpoint))
    };
    let begin = (1..lower_segments.len()).find(is_one)?;
    Some((begin, ROUTES.first()?))
}

/// The advice for a method that a key does not have.
fn key_method(lower_segments: &[&str]) -> Option<&'static str> {
    let ["admin", "v1", "keys", key] = lower_segments else {
        return None;
    };
    let (_, method) = key.split_once(':')?;
    (!matches!(method, "rotate" | "revoke")).then_some(KEY_METHODS)
}

/// The advice for a path that is right except for its spelling. `None` for one that is spelled
/// right.
fn spelling_advice(path: &str, path_segments: &[&str]) -> Option<String> {
    let is_model = path_segments
        .get(1)
        .is_some_and(|segment| segment.eq_ignore_ascii_case("models"));
    let segments = path_segments.iter().enumerate().map(|(at, segment)| {
        // The case of a model's id is kept.
        if is_model && at > 1 {
            (*segment).to_owned()
        } else {
            segment.to_ascii_lowercase()
        }
    });
    let correct_path: String = segments.map(|segment| format!("/{segment}")).collect();
    if correct_path == path {
        return None;
    }
    let why = match () {
        () if path.contains("//") => "with single slashes: a base URL ends without a slash",
        () if path.ends_with('/') => "without a slash at its end",
        () => "in lower case",
    };
    Some(format!("Write {correct_path}, {why}"))
}

/// The base URL of the API, with the host of the request.
fn base_url(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = uri.authority().map(http::uri::Authority::as_str).or(host);
    let host = host
        .filter(|host| host.parse::<http::uri::Authority>().is_ok())
        .unwrap_or("localhost:8000");
    format!("{}://{}/v1", scheme(uri, headers), shortened(host))
}

/// The scheme that the caller used. A proxy that terminates TLS sends it in a header.
fn scheme(uri: &Uri, headers: &HeaderMap) -> &'static str {
    let is_https = |scheme: &str| scheme.trim().eq_ignore_ascii_case("https");
    let forwarded = headers
        .get("x-forwarded-proto")
        .and_then(|scheme| scheme.to_str().ok());
    let first = forwarded.and_then(|schemes| schemes.split(',').next());
    if first.or(uri.scheme_str()).is_some_and(is_https) {
        "https"
    } else {
        "http"
    }
}

fn matches_below_v1(route: &str, path: &[&str]) -> bool {
    route
        .strip_prefix("/v1")
        .is_some_and(|rest| matches_pattern(rest, path))
}

/// Whether a path, in segments, matches a pattern: `*` and `{…}` are one segment, and `**` at the
/// end is any number of them.
fn matches_pattern(pattern: &str, path: &[&str]) -> bool {
    let mut path = path.iter();
    for wanted in pattern.split('/').filter(|segment| !segment.is_empty()) {
        if wanted == "**" {
            return true;
        }
        let is_any = wanted == "*" || wanted.starts_with('{');
        if !path
            .next()
            .is_some_and(|segment| is_any || *segment == wanted)
        {
            return false;
        }
    }
    path.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_advice_matches_some_path_and_no_route() {
        for (number, (pattern, _)) in ADVICE.iter().enumerate() {
            assert_eq!(*pattern, pattern.to_ascii_lowercase());
            let path = pattern.replace("**", "x").replace('*', "x");
            let path: Vec<_> = path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .collect();
            let first = ADVICE
                .iter()
                .position(|(other, _)| matches_pattern(other, &path));
            let same = first
                .and_then(|first| ADVICE.get(first))
                .map(|(_, advice)| *advice);
            assert!(
                first == Some(number) || same == Some(ADVICE[number].1),
                "{pattern} is hidden"
            );
        }
        for (_, route) in ROUTES.iter().chain(&TRANSCODED_ROUTES) {
            let path: Vec<_> = route
                .split('/')
                .filter(|segment| !segment.is_empty())
                .collect();
            assert!(
                !ADVICE
                    .iter()
                    .any(|(pattern, _)| matches_pattern(pattern, &path)),
                "{route}"
            );
        }
    }
}
