//! The report of a call in its answer, for callers who ask for one.
//! [`CallStats`](super::stats::CallStats) collects the numbers; the report is made at the end, and
//! only if it is asked for.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::{call::Call, options::MEMBER, route::Route};
use crate::{
    admission::Wait,
    clock,
    json::Chunk,
    proto::v1::{
        CallReport, CreateChatCompletionResponse, CreateCompletionResponse,
        CreateEmbeddingResponse, QueuePosition, StreamChatCompletionResponse,
        StreamCompletionResponse, TriedModel,
    },
    upstream::{IdentityFields, StreamMessage},
};

/// The report of a call that `route` led to an answer, which has this `request-id` of upstream.
/// `None` if the caller did not ask for one.
pub(super) fn of(
    call: &Call,
    route: Route,
    request_id: Option<&HeaderValue>,
) -> Option<Box<CallReport>> {
    if !call.wants_report {
        return None;
    }
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let milliseconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let upstream_request_id = request_id
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let (model_asked, model, tried) = route.into_parts();
    let tried = tried.into_iter().map(|(model, error)| TriedModel {
        model: model.as_ref().to_owned(),
        reason: error.code().to_owned(),
        extra: Extra::new(),
    });
    Some(Box::new(CallReport {
        model_asked: model_asked.as_ref().to_owned(),
        model: model.as_deref().unwrap_or_default().to_owned(),
        tried: tried.collect(),
        waited_ms: milliseconds(call.stats.waited_ms()),
        units: number(call.stats.units()),
        attempts: number(call.stats.sent.number()),
        first_token_ms: call.stats.first_token_ms().map(milliseconds),
        upstream_request_id,
        queue: None,
        extra: Extra::new(),
    }))
}

/// The message that tells how a call waits for units that asks for the model `requested`: the
/// beginning of its report.
pub(super) fn of_wait<M: StreamMessage + Reported + Default>(requested: &str, wait: Wait) -> M {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let waited_ms = i64::try_from(wait.waited.as_millis()).unwrap_or(i64::MAX);
    let queue = QueuePosition {
        requests_ahead: wait
            .requests_ahead
            .map(|ahead| i32::try_from(ahead).unwrap_or(i32::MAX)),
        waited_ms,
        units: number(wait.units),
        extra: Extra::new(),
    };
    let mut message = M::default();
    *message.report().0 = Some(Box::new(CallReport {
        model_asked: requested.to_owned(),
        waited_ms,
        queue: Some(Box::new(queue)),
        ..CallReport::default()
    }));
    if let Some(fields) = message.identity_fields() {
        requested.clone_into(fields.model);
        if let Some(created) = fields.created {
            *created = clock::now() / 1000;
        }
    }
    message
}

type Extra = BTreeMap<String, String>;

/// A message of an answer that can contain a report.
pub trait Reported {
    /// The report, and the members without a field.
    fn report(&mut self) -> (&mut Option<Box<CallReport>>, &mut BTreeMap<String, String>);

    /// Removes what the upstream sends under the name of the report: it must not look like the
    /// gateway's own.
    fn remove_upstream_report(&mut self) {
        let (report, extra) = self.report();
        *report = None;
        if !extra.is_empty() {
            extra.remove(MEMBER);
        }
    }
}

macro_rules! reported {
    ($($message:ty),*) => {
        $(impl Reported for $message {
            fn report(&mut self) -> (&mut Option<Box<CallReport>>, &mut Extra) {
                (&mut self.featherwire, &mut self.extra)
            }
        })*
    };
}

reported!(
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
    CreateCompletionResponse,
    StreamCompletionResponse,
    CreateEmbeddingResponse
);

/// The message that follows the last chunk of a stream, with the report.
#[derive(Debug)]
pub(super) struct ReportMessage<M> {
    message: M,
    has_identity: bool,
}

impl<M: StreamMessage + Reported + Default> ReportMessage<M> {
    pub(super) fn new(report: Box<CallReport>) -> Self {
        let mut message = M::default();
        *message.report().0 = Some(report);
        Self {
            message,
            has_identity: false,
        }
    }

    /// Copies the id, the time and the model of the answer from its first chunk, and returns the
    /// chunk.
    pub(super) fn with_identity_of(&mut self, chunk: Chunk<M>) -> Chunk<M> {
        if std::mem::replace(&mut self.has_identity, true) {
            return chunk;
        }
        let mut message = chunk.into_message();
        self.copy_identity(&mut message);
        message.into()
    }

    fn copy_identity(&mut self, chunk: &mut M) {
        let (_, extra) = chunk.report();
        // A member with an unexpected type is here.
        let odd = ["id", "object", "created", "model"]
            .map(|name| extra.get(name).map(|value| (name, value.clone())));
        self.message.report().1.extend(
            odd.into_iter()
                .flatten()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let (Some(own), Some(value)) = (self.message.identity_fields(), chunk.identity_fields())
        else {
            return;
        };
        let (
            IdentityFields {
                id, created, model, ..
            },
            IdentityFields {
                id: chunk_id,
                created: chunk_created,
                model: chunk_model,
                ..
            },
        ) = (own, value);
        if let (Some((_, id)), Some((_, value))) = (id, chunk_id) {
            id.clone_from(value);
        }
        if let (Some(created), Some(value)) = (created, chunk_created) {
            *created = *value;
        }
        model.clone_from(chunk_model);
    }

    pub(super) fn into_message(self) -> M {
        self.message
    }
}
