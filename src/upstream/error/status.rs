//! What a status means, together with what the body says.

use http::StatusCode;

use super::{rate_limit, shapes::ErrorBody};
use crate::error::{Error, ErrorCode};

/// What engines say, in lower case, about a request that is longer than the model's context.
const TOO_LONG: [&str; 5] = [
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "`max_new_tokens` must be",
];

/// Where the owner of the account changes the plan.
const SUBSCRIPTION_PAGE: &str = "https://featherless.ai/account/subscription";

/// The error that `status` means, refined by what the `body` says. `model` is the requested model,
/// if there is one.
pub(super) fn by_status(status: StatusCode, body: &ErrorBody, model: Option<&str>) -> Error {
    Reading::new(status.as_u16(), body, model.unwrap_or("this model"))
        .error()
        .with_source(format!("upstream status {status}"))
}

/// Whether an error about something that does not exist is about a model.
pub(super) fn is_about_model(body: &ErrorBody) -> bool {
    let says_model = || {
        body.message
            .as_deref()
            .is_some_and(|message| message.to_ascii_lowercase().contains("model"))
    };
    body.code() == "model_not_found" || (body.code() != "unknown_path" && says_model())
}

/// A refusal or failure that is being read.
struct Reading<'a> {
    status: u16,
    body: &'a ErrorBody,
    model: &'a str,
    /// The message, at the length at which it is quoted.
    quote: Option<String>,
    /// The quote in lower case.
    lower: String,
}

impl<'a> Reading<'a> {
    fn new(status: u16, body: &'a ErrorBody, model: &'a str) -> Self {
        let quote = body.quote().map(String::from);
        Self {
            status,
            body,
            model,
            lower: quote.as_deref().unwrap_or_default().to_ascii_lowercase(),
            quote,
        }
    }

    /// Whether the message contains `words`, which are in lower case.
    fn says(&self, words: &str) -> bool {
        self.lower.contains(words)
    }

    /// `message`, and the quote after it if there is one.
    fn quoting(&self, code: ErrorCode, message: impl Into<String>) -> Error {
        let error = Error::new(code, message);
        self.quote
            .iter()
            .fold(error, |error, quote| error.with_quote(quote))
    }

    fn error(&self) -> Error {
        let Self { status, model, .. } = *self;
        match status {
            400 if self.says("not ready for inference")
                || self.body.code() == "model_not_ready" =>
            {
                let quote = self.quote.as_deref().unwrap_or("(no message)");
                let message = format!(
                    "{model} is cold or still loading at Featherless, which takes from 5 minutes \
                     to an hour: try again later, or use a model that is warm"
                );
                Error::new(ErrorCode::ModelNotReady, message).with_quote(quote)
            }
            400 | 422 if self.is_context_too_long() => self.context_too_long(),
            401 => {
                let message = "Featherless rejected the gateway's API key: the gateway's owner \
                               must set a valid FEATHERLESS_API_KEY";
                Error::new(ErrorCode::FeatherlessApiKeyRejected, message)
                    .with_help("https://featherless.ai/account/api-keys")
            }
            402 => self
                .quoting(ErrorCode::PaymentRequired, "Featherless asks for payment")
                .with_help(SUBSCRIPTION_PAGE),
            403 | 451 => self.forbidden(),
            404 | 410 if is_about_model(self.body) => {
                let message = format!(
                    "Featherless has no model {model}. Ids are case-sensitive; GET \
                     /v1/models?q=… or `featherwire models --search …` finds them"
                );
                Error::new(ErrorCode::ModelNotFound, message).with_param("model")
            }
            404 => self.quoting(
                ErrorCode::UpstreamBadAnswer,
                "The upstream has no such path (status 404): check FEATHERLESS_BASE_URL",
            ),
            407 | 511 => {
                let message = format!(
                    "A proxy between the gateway and Featherless asks for authentication (status \
                     {status}): the gateway's owner must check its proxy settings"
                );
                Error::new(ErrorCode::UpstreamBadAnswer, message)
            }
            408 | 504 | 522 | 524 | 598 | 599 => {
                let message = format!(
                    "Featherless took too long and its front end gave up (status {status}): \
                     stream the answer, lower max_tokens, or use a smaller model"
                );
                self.quoting(ErrorCode::UpstreamTimeout, message)
            }
            413 | 414 => self.quoting(
                ErrorCode::RequestTooLarge,
                "The request is too large for Featherless: shorten it",
            ),
            429 => self.throttled(),
            499 => self.quoting(
                ErrorCode::UpstreamError,
                "Featherless stopped working on the request before it was answered (status 499): \
                 try again",
            ),
            400..=499 => self.refused(),
            503 | 529 => {
                let message = format!(
                    "Featherless has no capacity for {model} right now: try again, or use another \
                     model"
                );
                self.quoting(ErrorCode::NoCapacity, message)
            }
            500 => match &self.quote {
                Some(quote) => Error::new(
                    ErrorCode::UpstreamError,
                    format!("Featherless failed: {quote}. Try again, or use another model"),
                ),
                None => Error::new(
                    ErrorCode::UpstreamError,
                    "Featherless failed (status 500): try again, or use another model",
                ),
            },
            501..=599 => {
                let message = format!(
                    "Featherless or its front end is out of order (status {status}): try again, \
                     or use another model"
                );
                self.quoting(ErrorCode::UpstreamError, message)
            }
            300..=399 => Error::new(
                ErrorCode::UpstreamRedirect,
                format!(
                    "The upstream answered with a redirect (status {status}), which its API never \
                     does: check FEATHERLESS_BASE_URL"
                ),
            ),
            _ => Error::new(
                ErrorCode::UpstreamBadAnswer,
                format!(
                    "The upstream answered with status {status}, which its API never does: check \
                     FEATHERLESS_BASE_URL"
                ),
            ),
        }
    }

    fn is_context_too_long(&self) -> bool {
        self.body.code() == "context_length_exceeded"
            || TOO_LONG.iter().any(|words| self.says(words))
    }

    fn context_too_long(&self) -> Error {
        let problem = self
            .quote
            .as_deref()
            .unwrap_or("The request is longer than the model's context");
        let message = format!(
            "{problem}. Shorten the messages, lower max_tokens, or use a model with a larger \
             context"
        );
        Error::new(ErrorCode::ContextLengthExceeded, message).with_param("messages")
    }

    /// 403 and 451. Only a 403 says something about the plan or the model.
    fn forbidden(&self) -> Error {
        let Self {
            status,
            body,
            model,
            ..
        } = *self;
        let is_forbidden = status == 403;
        if is_forbidden && self.says("api access") {
            let message = "The Featherless account's plan has no API access: change the plan, or \
                           use another account's key";
            return Error::new(ErrorCode::PlanWithoutApiAccess, message)
                .with_help(SUBSCRIPTION_PAGE);
        }
        let is_gated = body.code().contains("model_gated")
            || self.says("gated model")
            || self.says("model is gated");
        if is_forbidden && is_gated {
            let message = format!(
                "{model} is gated: accept its licence on its Hugging Face page, with the account \
                 linked to Featherless"
            );
            return Error::new(ErrorCode::ModelGated, message)
                .with_help(format!("https://huggingface.co/{model}"));
        }
        if is_forbidden && (body.code() == "model_not_on_plan" || self.says("plan")) {
            let message = format!(
                "{model} is not part of the Featherless account's plan: change the plan, or use a \
                 smaller model"
            );
            return Error::new(ErrorCode::ModelNotOnPlan, message).with_help(SUBSCRIPTION_PAGE);
        }
        let message = match &self.quote {
            Some(quote) => format!("Featherless refused access (status {status}): {quote}"),
            None => format!(
                "Featherless refused access (status {status}) and does not say why: check the \
                 account's plan and key, and whether there is a proxy or a firewall in between"
            ),
        };
        Error::new(ErrorCode::Forbidden, message)
    }

    fn throttled(&self) -> Error {
        match &self.quote {
            None if *self.body == ErrorBody::default() => rate_limit::rate_limited(),
            quote => rate_limit::throttled(
                self.body.code(),
                self.body.message.as_deref().unwrap_or_default(),
                quote.as_deref().unwrap_or("(no message)"),
            ),
        }
    }

    /// Any other 4xx: the same request would be refused again.
    fn refused(&self) -> Error {
        let status = match self.status {
            // So common that the number says nothing more.
            400 | 422 if self.quote.is_some() => String::new(),
            status => format!(" (status {status})"),
        };
        let message = match &self.quote {
            Some(quote) => format!("Featherless refused the request{status}: {quote}"),
            None => format!(
                "Featherless refused the request{status} and does not say why: check its fields \
                 and values"
            ),
        };
        let mut error = Error::new(ErrorCode::UpstreamRefused, message);
        if !self.body.code().is_empty() {
            error = error.with_foreign_code(self.body.code());
        }
        self.body
            .param
            .iter()
            .fold(error, |error, param| error.with_param(param))
    }
}
