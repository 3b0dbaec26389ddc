//! A successful reply of Featherless.

use http::HeaderValue;

/// An answer, and Featherless's `request-id` for it.
#[derive(Debug)]
pub struct Reply<T> {
    /// Featherless's `request-id`.
    pub request_id: Option<HeaderValue>,
    /// The answer.
    pub answer: T,
}

impl<T> Reply<T> {
    /// Applies `convert` to the answer.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Reply<U> {
        Reply {
            request_id: self.request_id,
            answer: convert(self.answer),
        }
    }
}
