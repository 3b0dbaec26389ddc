//! The reply to a call: the answer, and what is told beside it.

use std::sync::{Arc, OnceLock};

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
    /// The headers of a stream that began before they were known.
    pub late_headers: LateHeaders,
}

/// The headers of an answer that are not known when the head of the response is sent. The gRPC door
/// sends them as trailing metadata, and the REST door as comments.
#[derive(Clone, Debug, Default)]
pub struct LateHeaders(Option<Arc<OnceLock<HeaderMap>>>);

impl LateHeaders {
    /// Headers that become known with the first part of the answer.
    pub(super) fn expected() -> Self {
        Self(Some(Arc::default()))
    }

    pub(super) fn set(&self, headers: HeaderMap) {
        if let Some(place) = &self.0 {
            // They are set once.
            let _ = place.set(headers);
        }
    }

    /// Whether the headers of the response were sent without them.
    pub fn are_expected(&self) -> bool {
        self.0.is_some()
    }

    /// The headers, when they are known.
    pub fn get(&self) -> Option<&HeaderMap> {
        self.0.as_ref()?.get()
    }
}

impl<T> Reply<T> {
    /// A reply without headers.
    pub fn new(answer: T) -> Self {
        Self {
            answer,
            headers: HeaderMap::new(),
            late_headers: LateHeaders::default(),
        }
    }

    /// The same reply with another answer, which `make` makes of this one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Reply<U> {
        Reply {
            answer: make(self.answer),
            headers: self.headers,
            late_headers: self.late_headers,
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
            headers,
            ..Self::new(reply.answer)
        }
    }
}
