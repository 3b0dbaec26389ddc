//! Why a choice ended, in the words of engines. Most reasons are a good end and go to the caller
//! unchanged. Some mean that the engine gave up the choice; then the answer has failed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::from_failed_choice;
use crate::{error::Error, json};

/// Reasons that mean failure, in lower snake case. Besides these, a reason whose first or last word
/// is `error` means failure, such as `network_error`. All others are a good end, unknown ones too.
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

/// How many bytes of a reason are compared. The word for a failure is short, or its message follows
/// it.
const REASON_BYTES_MAX: usize = 1024;

/// What shows whether a choice has failed: its reason, and the members that it has no field for.
#[derive(Debug)]
pub struct ChoiceEnd<'a> {
    /// The `finish_reason`.
    pub reason: Option<&'a str>,
    /// The members without a field.
    pub extra: &'a BTreeMap<String, String>,
}

impl ChoiceEnd<'_> {
    /// The error that the choice ended with. `None` if it has not failed. With a good reason, an
    /// `error` is only a remark: the choice has ended well.
    pub(super) fn error(&self, model: Option<&str>) -> Option<Error> {
        let reason = self.reason.filter(|reason| !reason.is_empty());
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
        from_failed_choice(reason, error, model)
    }
}

/// The members of a choice that report its failure. They are removed from the part of the answer
/// that is passed on.
pub const FAILURE_MEMBERS: [&str; 2] = ["error", "finish_reason"];

/// Whether `reason` means that the engine gave up the choice.
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

/// Whether a `reason` that is not a string means the same: an object with an `error`, or with a
/// `type` that is such a reason. Engines use this form internally.
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
    fn reasons_of_failure_are_told_from_reasons_of_a_good_end() {
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
            // DeepSeek: cut short like `length`, for another reason. The part that came is good.
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
            ChoiceEnd {
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
