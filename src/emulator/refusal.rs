//! Every error that the emulator sends on purpose, in Featherless's formats.
//!
//! A [`Refusal`] answers in the OpenAI shape of `/v1`; wrapped in [`AccountRefusal`] it answers in
//! that of `/account`.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

const INVALID: &str = "invalid_request_error";

#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: INVALID,
            message: message.into(),
            param: None,
            code: None,
            retry_after_s: None,
        }
    }

    fn code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    pub fn retry_after_s(self, seconds: u32) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..self
        }
    }

    pub fn invalid(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, message).code(code)
        }
    }

    pub fn missing(param: &str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self::invalid(param, "missing_required_parameter", message)
    }

    pub fn context_length(param: &str, limit: usize, prompt: usize) -> Self {
        let message = format!(
            "This model's maximum context length is {limit} tokens, but the prompt has {prompt} \
             tokens. Please shorten it."
        );
        Self::invalid(param, "context_length_exceeded", message)
    }

    pub fn broken_json(detail: &str) -> Self {
        let message = format!("The body of the request is not valid JSON: {detail}");
        Self::new(StatusCode::BAD_REQUEST, message).code("invalid_json")
    }

    pub fn unread_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The body of the request could not be read",
        )
    }

    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("The request is larger than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
    }

    pub fn not_json() -> Self {
        let message = "The content type of the request must be application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).code("unsupported_media_type")
    }

    pub fn unknown_path(method: &str, path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Cannot {method} {path}")).code("not_found")
    }

    pub fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("Not allowed to {method} {path}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed")
    }

    pub fn unauthorized() -> Self {
        let message = "You must be signed in to access this resource";
        Self::new(StatusCode::UNAUTHORIZED, message).code("unauthorized")
    }

    pub fn no_api_access() -> Self {
        let message = "The current subscription plan does not have API access enabled";
        Self::new(StatusCode::FORBIDDEN, message).code("forbidden")
    }

    pub fn gated(model: &str) -> Self {
        let message = format!(
            "{model} is a gated model: connect a Hugging Face account that has accepted its \
             licence"
        );
        Self::new(StatusCode::FORBIDDEN, message).code("model_gated_needs_oauth")
    }

    pub fn not_on_plan(model: &str) -> Self {
        let message = format!("{model} is not available on the current subscription plan");
        Self::new(StatusCode::FORBIDDEN, message).code("model_not_on_plan")
    }

    pub fn model_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Model not found").code("model_not_found")
    }

    /// This error has no code. A client recognises a cold model only by the message.
    pub fn not_ready(model: &str) -> Self {
        let message = format!("{model} is not ready for inference: it is being loaded");
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn concurrency(model: &str, used: u32, cost: u32, limit: u32) -> Self {
        let over = used.saturating_add(cost).saturating_sub(limit);
        let message = format!(
            "Per-user concurrency limit exceeded. This user has {used} active units; this request \
             requires {cost} units (limit: {limit}, over by {over}). Model: {model}. Please wait \
             for active requests to complete."
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).code("concurrency_limit_exceeded")
    }

    /// The same refusal, in the wording that names only the plan's limit.
    pub fn plan_limit(limit: u32) -> Self {
        let message = format!(
            "Concurrency limit exceeded (plan limit: {limit}). Please wait for active requests."
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).code("concurrency_limit_exceeded")
    }

    pub fn units_without_numbers() -> Self {
        let message = "Concurrency limit exceeded. Please wait for active requests to complete.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).code("concurrency_limit_exceeded")
    }

    /// A limit on the rate of requests, not on units.
    pub fn rate_limit() -> Self {
        let message = "Rate limit reached: too many requests in a short time";
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
            .code("rate_limit_exceeded")
            .kind("rate_limit_error")
    }

    pub fn no_embeddings(model: &str) -> Self {
        let message = format!("{model} does not make embeddings: use an embedding model.");
        Self::invalid("model", "model_not_supported", message)
    }

    pub fn only_embeddings(model: &str) -> Self {
        let message = format!("{model} is an embedding model: it does not generate text.");
        Self::invalid("model", "model_not_supported", message)
    }

    pub fn no_images(model: &str) -> Self {
        Self::invalid(
            "messages",
            "invalid_value",
            format!("{model} does not support image input."),
        )
    }

    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
            .kind("completions_error")
    }

    pub fn no_executor() -> Self {
        let message = "Service Temporarily Unavailable: No valid Executor";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).kind("server_error")
    }

    /// The body of the response. Faults also send it inside a stream.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = self.body();
        answer(&self, &body)
    }
}

/// A refusal in the format of the paths under `/account`.
pub struct AccountRefusal(pub Refusal);

impl IntoResponse for AccountRefusal {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let body = json!({
            "statusCode": refusal.status.as_u16(), "message": refusal.message, "code": refusal.code,
        });
        answer(&refusal, &body)
    }
}

fn answer(refusal: &Refusal, body: &Value) -> Response {
    let mut response = (refusal.status, json_type(), body.to_string()).into_response();
    let headers = response.headers_mut();
    if refusal.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = refusal.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The content type of every JSON response.
pub fn json_type() -> [(HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_static("application/json; charset=utf-8");
    [(header::CONTENT_TYPE, value)]
}
