//! Reads messages from JSON: a caller's requests, and an upstream's answers.

use serde::de::DeserializeOwned;

use super::{
    budget,
    error::{JsonError, document_error, read_error, text, without_mark},
    history, large_text,
    mode::Mode,
};

/// Reads a caller's request.
///
/// # Errors
/// The body is not UTF-8 or not JSON, or a member has the wrong type or is too large. The error is
/// about the first such member.
pub fn decode_request<M: DeserializeOwned>(body: &[u8]) -> Result<M, JsonError> {
    let text = text(body)?;
    // Keeping the path costs time, so it is kept only in a second attempt, after an error.
    let first = || large_text::during(text.len(), || serde_json::from_str(text));
    budget::with_budget(text.len(), first).or_else(|_| {
        let again = || {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            let message: M = serde_path_to_error::deserialize(&mut deserializer)
                .map_err(|error| read_error(error, text))?;
            deserializer.end().map_err(|error| document_error(&error))?;
            Ok(message)
        };
        let messages = history::Messages::of(text);
        messages.during(|| budget::with_budget(text.len(), again))
    })
}

/// Reads an upstream's answer, or one event of it.
///
/// # Errors
/// The answer is not JSON, is not an object, or is too large.
pub fn decode_answer<M: DeserializeOwned>(body: &[u8]) -> Result<M, JsonError> {
    let body = without_mark(body);
    // UTF-8 is checked once, not string by string. Without it, the error says where.
    let text = std::str::from_utf8(body);
    let strict = || match text {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    let strict = || strict().map_err(|error| document_error(&error));
    budget::with_budget(body.len(), strict).or_else(|bad| match text {
        Ok(text) if !bad.is_too_large => {
            let lenient = || serde_json::from_str(text).map_err(|error| document_error(&error));
            budget::with_budget(body.len(), || Mode::Lenient.during(lenient))
        }
        _ => Err(bad),
    })
}
