//! The reply to a call: the answer, and what is told beside it.

use http::HeaderMap;

use super::headers::UPSTREAM_REQUEST_ID;
use crate::upstream;

/// An answer with its headers. The gRPC door sends them as metadata.
#[derive(Debug)]
pub struct Reply<T> {
    /// The answer: a message, or a stream of messages.
    pub answer: T,
    /// How the answer came about, for callers who want to know. They have names of the gateway's
    /// own, and none that HTTP or gRPC gives a meaning.
    pub headers: HeaderMap,
}

impl<T> Reply<T> {
    /// A reply without headers.
    pub fn new(answer: T) -> Self {
        Self {
            answer,
            headers: HeaderMap::new(),
        }
    }

    /// The same reply with another answer, which `make` makes of this one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Reply<U> {
        Reply {
            answer: make(self.answer),
            headers: self.headers,
        }
    }
}

impl<T> From<upstream::Reply<T>> for Reply<T> {
    fn from(reply: upstream::Reply<T>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(id) = reply.request_id {
            headers.insert(UPSTREAM_REQUEST_ID, id);
        }
        Self {
            answer: reply.answer,
            headers,
        }
    }
}
