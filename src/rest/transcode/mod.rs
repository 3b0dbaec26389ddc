//! The methods whose REST form follows from the contract alone: the path and the parameters by
//! their `google.api.http` rules, and the JSON of protobuf by the descriptors of their messages.
//!
//! Models are not asked by this way. It reads the whole request into generic values, which is slow
//! compared with the codec of [`json`](crate::json), and gives an exact error for each member.
//!
//! - `rules`: the rules of the contract, and which of them a request meets. `template`: the path of
//!   a rule.
//! - `fields`: generic values and the parameters of a request become a message. `members` corrects
//!   the spelling of values and finds unknown members before.
//! - `methods`: the method of the services for each rule.

use std::convert::Infallible;

use axum::{body::Body, extract::Request, response::Response};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use http_body::Body as _;
use prost_reflect::DynamicMessage;

use super::{limit::BodyLimit, request, response::with_body, state::RestState};
use crate::{
    error::{Error, ErrorCode, Result},
    service::Call,
};

mod fields;
mod members;
mod methods;
mod rules;
mod template;

use methods::Answer;
use rules::{Found, Rule};

/// The type of a streamed answer: one JSON object in each line. Types of such lines are not
/// registered, and generators of clients do not know them.
const LINES: &str = "text/plain; charset=utf-8";

/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Whether a request to `path` belongs to the administration.
pub(crate) fn is_admin(path: &str) -> bool {
    path.starts_with("/admin/v1/")
}

/// Whether `path` is about the caller's own key.
pub(crate) fn is_own(path: &str) -> bool {
    matches!(path, "/v1/key" | "/v1/usage")
}

/// Answers a request to a path of these methods.
pub(crate) fn answer(state: RestState, request: Request) -> BoxFuture<'static, Response> {
    // In memory of its own: the other requests do not pay for its size.
    async move {
        match respond(&state, request).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        }
    }
    .boxed()
}

async fn respond(state: &RestState, request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let call = Call::new(&head.headers, &head.extensions)?;
    let (rule, parameters) = match rules::all()?.find(&head.method, head.uri.path()) {
        Found::Rule(rule, parameters) => (rule, parameters),
        Found::OtherMethods(methods) => return wrong_method(&head, &methods.join(", ")),
        Found::Nothing => {
            return Ok(super::unknown_path(Request::from_parts(head, Body::empty())).await);
        }
    };
    let read = async {
        let query = fields::query(&head.uri)?;
        let body = read_body(&call, &head.headers, rule, body).await?;
        fields::message(rule, parameters, query, body)
    };
    let message = call.run_part(read).await?;
    let mut response = match methods::call(&state.services, rule, call, message).await? {
        Answer::Whole(answer) => {
            let mut body = Vec::new();
            fields::write(&answer, &mut body)?;
            with_body(body.into(), "application/json", HeaderMap::new())
        }
        Answer::Stream(answers) => {
            let lines = answers.map(|answer| Ok::<_, Infallible>(line(answer)));
            let body = Body::from_stream(lines);
            with_body(body, LINES, HeaderMap::new())
        }
    };
    // An answer may contain a secret.
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// The response to a path that takes only the methods in `allowed`.
fn wrong_method(head: &Parts, allowed: &str) -> Result<Response> {
    let (path, method) = (head.uri.path(), &head.method);
    let message = format!("{path} does not support {method}: it supports {allowed}");
    let allowed = HeaderValue::from_str(allowed).map_err(Error::internal)?;
    let mut response = Error::new(ErrorCode::MethodNotAllowed, message).into_response();
    response.headers_mut().insert(header::ALLOW, allowed);
    Ok(response)
}

/// A response to `HEAD`: with the length that the body has, and without the body.
pub(crate) fn without_body(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Body::empty())
}

/// One line of a stream. An error is the last one, and looks like the body of an error.
fn line(answer: Result<DynamicMessage>) -> Vec<u8> {
    let mut line = Vec::new();
    let written = answer.and_then(|answer| fields::write(&answer, &mut line));
    if let Err(error) = written {
        // Texts always serialise.
        line = serde_json::to_vec(&error.body()).unwrap_or_default();
    }
    line.push(b'\n');
    line
}

/// Reads the body of a request. An absent one is an empty object.
async fn read_body(
    call: &Call,
    headers: &HeaderMap,
    rule: &Rule,
    body: Body,
) -> Result<serde_json::Value> {
    let is_read = rule.has_body && rule.verb != Method::GET;
    // A browser sends a body of another media type, or none, to another origin without a preflight
    // request, but names the page. Because of this check no web page can change the keys of an open
    // gateway.
    let is_json = request::is_json(headers);
    if is_read && !is_json && headers.contains_key(header::ORIGIN) {
        return Err(request::not_json());
    }
    let bytes = request::receive(call, headers, body, BodyLimit(BODY_BYTES_MAX)).await?;
    if bytes.is_empty() {
        return Ok(serde_json::Value::Object(serde_json::Map::new()));
    }
    if !is_read {
        let message = "this method takes no body: its parameters are in the path and the query";
        return Err(Error::invalid("body", message));
    }
    if !is_json {
        return Err(request::not_json());
    }
    fields::parse(&bytes)
}
