//! The error as OpenAI's body: `{"error":{"message","type","param","code"}}`, from which the
//! official SDKs make their own exceptions.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderValue, Response, header};
use serde::Serialize;

use super::{table::Kind, told::Told, value::Error};

/// OpenAI's error body.
#[derive(Serialize)]
pub struct Body<'a> {
    error: Members<'a>,
}

#[derive(Serialize)]
struct Members<'a> {
    message: Cow<'a, str>,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

impl Error {
    /// The error as OpenAI's body.
    pub fn body(&self) -> Body<'_> {
        Body {
            error: Members {
                // OpenAI's body has no member for a link.
                message: match self.help() {
                    Some(url) => format!("{}. See {url}", self.message()).into(),
                    None => self.message().into(),
                },
                r#type: self.kind().row().openai,
                param: self.param(),
                code: self.code(),
            },
        }
    }

    /// The error as a response of the REST door.
    pub fn into_response<B: From<Vec<u8>>>(self) -> Response<B> {
        // Strings and optional strings always serialise.
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(B::from(body));
        *response.status_mut() = self.kind().row().http;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(wait) = self.retry_after() {
            // Whole seconds, rounded up, because an early retry would fail again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(Ok(id)) = self.upstream_request_id().map(HeaderValue::from_str) {
            headers.insert("x-featherless-request-id", id);
        }
        if let Some((unit, state)) = self.rate() {
            state.add_to(unit, headers);
        }
        if self.kind() == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Told(Arc::new(self)));
        response
    }
}
