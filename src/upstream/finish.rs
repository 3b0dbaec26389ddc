//! Why a choice ended, in the words of engines. Most words are a good end, and go to the caller as
//! they are; some mean that the engine gave the choice up, and then the answer has failed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{error::Error, json};

/// Reasons that mean failure, in lower snake case. Besides these, a reason whose first or last word
/// is `error` is one, such as `network_error`. All others are a good end, also those that nobody
/// has heard of yet.
///
/// | reason | of |
/// |---|---|
/// | `abort`, `aborted` | vLLM, SGLang, LMDeploy: the request was aborted |
/// | `cancel`, `cancelled`, `canceled`, `user_cancel` | TensorRT-LLM, Dynamo, Cohere |
/// | `error` | vLLM, TGI, LMDeploy, Mistral, OpenRouter, Cohere |
/// | `exception`, `fail`, `failed`, `failure`, `interrupted` | gateways |
/// | `timeout`, `timed_out` | TensorRT-LLM, Cohere: the engine's own time limit |
const FAILURES: [&str; 13] = [
    "abort",
    "aborted",
    "cancel",
    "canceled",
    "cancelled",
    "exception",
    "fail",
    "failed",
    "failure",
    "interrupted",
    "timed_out",
    "timeout",
    "user_cancel",
];

/// The longest reason that is looked at, in bytes: a failure's word is short, or is followed by its
/// message.
const REASON_BYTES_MAX: usize = 1024;

/// What tells whether a choice has failed: its reason, and the members that it has no field for.
#[derive(Debug)]
pub struct End<'a> {
    /// Its `finish_reason`.
    pub reason: Option<&'a str>,
    /// Its members without a field.
    pub extra: &'a BTreeMap<String, String>,
}

impl End<'_> {
    /// The error that the choice ended with; none if it hasn't failed. An error beside a good
    /// reason is a remark: the choice has ended well.
    pub(super) fn error(&self, model: Option<&str>) -> Option<Error> {
        let reason = self.reason.filter(|reason| !reason.is_empty());
        // Members that there is no field for are rare.
        if reason.is_some_and(|reason| !is_failure(reason))
            || (reason.is_none() && self.extra.is_empty())
        {
            return None;
        }
        let odd_reason = self
            .extra
            .get("finish_reason")
            .filter(|reason| is_odd_failure(reason));
        let error = self.extra.get("error").or(odd_reason).map(String::as_str);
        Error::from_failed_choice(reason, error, model)
    }
}

/// The members of a choice that say that it has failed, for those who pass on what came before.
pub const FAILURE_MEMBERS: [&str; 2] = ["error", "finish_reason"];

/// Whether a reason means that the choice was given up.
fn is_failure(reason: &str) -> bool {
    let reason = reason.get(..REASON_BYTES_MAX).unwrap_or(reason);
    let mut words = reason
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let is_error = |word: Option<&str>| word.is_some_and(|word| word.eq_ignore_ascii_case("error"));
    if is_error(words.next()) || is_error(words.next_back()) {
        return true;
    }
    FAILURES.iter().any(|failure| {
        failure.len() == reason.len()
            && failure
                .bytes()
                .zip(reason.bytes())
                .all(|(letter, other)| match other {
                    b'-' | b' ' => letter == b'_',
                    other => letter == other.to_ascii_lowercase(),
                })
    })
}

/// Whether a reason that is no text means the same: an object with an `error`, or whose `type` is
/// such a reason, as engines have it inside.
fn is_odd_failure(reason: &str) -> bool {
    #[derive(Deserialize)]
    struct Reason<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        r#type: Option<String>,
    }
    let reason: Result<Reason<'_>, _> = json::peek(reason);
    reason.is_ok_and(|reason| {
        reason.error.is_some() || reason.r#type.as_deref().is_some_and(is_failure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_failure_are_told_from_words_for_an_end() {
        for reason in [
            "abort",
            "ABORTED",
            "error",
            "Error",
            "error: out of memory",
            "ERROR_LIMIT",
            "network_error",
            "server-error",
            "cancelled",
            "User Cancel",
            "failed",
            "timeout",
            "timed-out",
        ] {
            assert!(is_failure(reason), "{reason}");
        }
        for reason in [
            "stop",
            "length",
            "eos",
            "eos_token",
            "end_turn",
            "stop_sequence",
            "max_tokens",
            "content_filter",
            "tool_calls",
            "function_call",
            "COMPLETE",
            "SAFETY",
            "model_length",
            // DeepSeek: cut short like `length`, for another reason. What there is of the answer is
            // good.
            "insufficient_system_resource",
            "repetition",
            "terror",
            "errors_none",
            "abortion",
            "later",
            "",
        ] {
            assert!(!is_failure(reason), "{reason}");
        }
    }

    #[test]
    fn a_choice_fails_by_its_reason_or_by_its_error_and_quotes_what_it_says() {
        let error = |reason: Option<&str>, name: &str, value: &str| {
            let extra = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            End {
                reason,
                extra: &extra,
            }
            .error(None)
            .map(|error| error.message().to_owned())
            .unwrap_or_default()
        };
        assert!(error(Some("abort"), "later", "1").contains("\"abort\""));
        assert!(error(Some("error"), "error", r#"{"message":"boo","code":502}"#).contains("boo"));
        assert!(error(Some(""), "error", r#""boo""#).contains("boo"));
        assert!(error(None, "finish_reason", r#"{"error":"boo"}"#).contains("boo"));
        assert!(
            error(None, "finish_reason", r#"{"type":"abort","message":"boo"}"#).contains("boo")
        );
        assert!(error(Some("error: boo"), "error", "{}").contains("boo"));
        for (name, value) in [
            ("error", "null"),
            ("error", "{}"),
            ("finish_reason", r#"{"type":"stop"}"#),
            ("later", "1"),
        ] {
            assert_eq!(error(None, name, value), "", "{name} {value}");
            assert_eq!(error(Some("stop"), "error", r#""boo""#), "");
        }
    }
}
