//! The models whose names are faults, and the faults that strike before an answer begins.

use std::collections::HashSet;
use std::future::pending;
use std::sync::{Mutex, PoisonError};

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::refusal::{Refusal, json_type};

/// A model that does not answer as a model should.
#[derive(Debug)]
pub struct Fault {
    /// The id to ask for.
    pub model: &'static str,
    /// What happens then, in one line.
    pub what: &'static str,
    trouble: Trouble,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    Cold,
    Gated,
    NoPlanAccess,
    NotOnPlan,
    Unauthorized,
    Concurrency,
    Internal,
    NoExecutor,
    NoExecutorOnce,
    InternalOnce,
    TimeoutHtml,
    Html,
    Redirect,
    BareError,
    SlowHeaders,
    Silent,
    SlowFirstToken,
    Stall,
    Cut,
    Eof,
    NoDone,
    ErrorInStream,
    ErrorObjectInStream,
    ConcurrencyInStream,
    BrokenJson,
    GiantLine,
    Crlf,
    Split,
    Burst,
    Think,
    Odd,
    Slow,
}

const fn fault(model: &'static str, trouble: Trouble, what: &'static str) -> Fault {
    Fault { model, what, trouble }
}

/// Every fault. They can be asked for by id, but are not listed among the models.
pub const FAULTS: &[Fault] = &[
    fault("emulator/cold", Trouble::Cold, "400: the model is not ready for inference"),
    fault("emulator/gated", Trouble::Gated, "403: the licence of a gated model is not accepted"),
    fault("emulator/no-plan-access", Trouble::NoPlanAccess, "403: the plan has no API access"),
    fault("emulator/not-on-plan", Trouble::NotOnPlan, "403: the model is not on the plan"),
    fault("emulator/401", Trouble::Unauthorized, "401: the key is refused"),
    fault("emulator/429", Trouble::Concurrency, "429: no units are free, with Retry-After: 2"),
    fault("emulator/500", Trouble::Internal, "500, always"),
    fault("emulator/503", Trouble::NoExecutor, "503 No valid Executor, always"),
    fault("emulator/503-then-ok", Trouble::NoExecutorOnce, "503 at the first attempt, an answer at the second"),
    fault("emulator/500-then-ok", Trouble::InternalOnce, "500 at the first attempt, an answer at the second"),
    fault("emulator/524-html", Trouble::TimeoutHtml, "524 with the HTML page of a content delivery network"),
    fault("emulator/html-200", Trouble::Html, "200 with an HTML page"),
    fault("emulator/redirect", Trouble::Redirect, "302 to another host"),
    fault("emulator/bare-error", Trouble::BareError, "500 whose error is a bare string"),
    fault("emulator/slow-headers", Trouble::SlowHeaders, "never answers, not even with headers"),
    fault("emulator/silent", Trouble::Silent, "headers at once, then nothing"),
    fault("emulator/slow-first-token", Trouble::SlowFirstToken, "headers at once, the first token after 3 s"),
    fault("emulator/stall-after-5", Trouble::Stall, "5 tokens, then silence on an open connection"),
    fault("emulator/cut-after-5", Trouble::Cut, "5 tokens, then the connection breaks"),
    fault("emulator/eof-after-5", Trouble::Eof, "5 tokens, then a clean end without finish_reason or [DONE]"),
    fault("emulator/no-done", Trouble::NoDone, "a whole answer without [DONE]"),
    fault("emulator/error-in-stream", Trouble::ErrorInStream, "3 tokens, then an error that is a bare string"),
    fault("emulator/error-object-in-stream", Trouble::ErrorObjectInStream, "3 tokens, then an error object"),
    fault("emulator/429-in-stream", Trouble::ConcurrencyInStream, "3 tokens, then the error object of a 429"),
    fault("emulator/broken-json", Trouble::BrokenJson, "3 tokens, then half an event (unary: half an answer)"),
    fault("emulator/giant-line", Trouble::GiantLine, "all text in one event of 2 MB"),
    fault("emulator/crlf", Trouble::Crlf, "CRLF line ends, comments, no space after data:"),
    fault("emulator/split", Trouble::Split, "every byte in a segment of its own"),
    fault("emulator/burst", Trouble::Burst, "all events in one write"),
    fault("emulator/think", Trouble::Think, "reasoning_content before the content"),
    fault("emulator/odd", Trouble::Odd, "legal but odd: unknown members everywhere, extreme numbers, empty choices"),
    fault("emulator/slow", Trouble::Slow, "5 tokens per second"),
];

impl Trouble {
    pub fn of(model: &str) -> Option<Self> {
        let fault = FAULTS.iter().find(|fault| fault.model == model);
        fault.map(|fault| fault.trouble)
    }

    /// Strikes before an answer begins, if this trouble does: with a refusal, another answer, or endless silence.
    pub async fn strike_early(
        self,
        model: &str,
        attempts: &Attempts,
        request: u64,
    ) -> Result<Option<Response>, Refusal> {
        Err(match self {
            Self::Cold => Refusal::not_ready(model),
            Self::Gated => Refusal::gated(model),
            Self::NoPlanAccess => Refusal::no_api_access(),
            Self::NotOnPlan => Refusal::not_on_plan(model),
            Self::Unauthorized => Refusal::unauthorized(),
            Self::Concurrency => Refusal::concurrency(model, 8, 1, 8).retry_after_s(2),
            Self::Internal => Refusal::internal(),
            Self::NoExecutor => Refusal::no_executor(),
            Self::NoExecutorOnce if attempts.is_first(request) => Refusal::no_executor(),
            Self::InternalOnce if attempts.is_first(request) => Refusal::internal(),
            Self::TimeoutHtml => return Ok(Some(timeout_page())),
            Self::Html => return Ok(Some(Html(PAGE).into_response())),
            Self::Redirect => return Ok(Some(redirect())),
            Self::BareError => return Ok(Some(bare_error("something went wrong"))),
            Self::SlowHeaders => pending().await,
            _ => return Ok(None),
        })
    }
}

/// Requests that have failed once and succeed when they come again.
#[derive(Default)]
pub struct Attempts(Mutex<HashSet<u64>>);

/// Requests that never came again are forgotten at this many.
const ATTEMPTS_MAX: usize = 10_000;

impl Attempts {
    fn is_first(&self, request: u64) -> bool {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.remove(&request) {
            return false;
        }
        if failed.len() >= ATTEMPTS_MAX {
            failed.clear();
        }
        failed.insert(request)
    }
}

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>\
    <body><h1>A page, not an answer</h1></body></html>\n";

/// A reserved name: a client that follows the redirect finds nobody to give its key to.
const ELSEWHERE: &str = "https://elsewhere.invalid/v1/chat/completions";

fn redirect() -> Response {
    let location = [(header::LOCATION, HeaderValue::from_static(ELSEWHERE))];
    (StatusCode::FOUND, location).into_response()
}

fn timeout_page() -> Response {
    let mut response = Html(PAGE).into_response();
    *response.status_mut() = StatusCode::from_u16(524).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("cloudflare"));
    response
}

pub fn bare_error(message: &str) -> Response {
    let body = json!({ "error": message }).to_string();
    (StatusCode::INTERNAL_SERVER_ERROR, json_type(), body).into_response()
}
