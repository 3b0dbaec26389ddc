//! The report of a call in its answer, for callers who ask for one. What it says is gathered on the
//! way, in [`Facts`], which costs nothing worth mentioning; the report itself is made at the end,
//! and only if it is asked for.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use http::HeaderMap;

use super::{Call, options::MEMBER, reply::UPSTREAM_REQUEST_ID, route::Route};
use crate::{
    proto::v1::{
        CallReport, CreateChatCompletionResponse, CreateCompletionResponse,
        CreateEmbeddingResponse, StreamChatCompletionResponse, StreamCompletionResponse,
        TriedModel,
    },
    upstream::{IdentityFields, StreamMessage},
};

/// What the gateway does for one call, counted while it does it.
#[derive(Debug)]
pub(super) struct Facts {
    /// How often upstream was asked.
    pub(super) attempts: AtomicU32,
    /// The units that the answer holds.
    units: AtomicU32,
    /// When the first piece came, in milliseconds from the call's arrival.
    first_token_ms: AtomicU64,
}

/// No piece has come.
const NO_TOKEN: u64 = u64::MAX;

impl Default for Facts {
    fn default() -> Self {
        Self {
            attempts: AtomicU32::new(0),
            units: AtomicU32::new(0),
            first_token_ms: AtomicU64::new(NO_TOKEN),
        }
    }
}

impl Facts {
    /// Upstream answers, and this many units are held for it.
    pub(super) fn answered(&self, units: u32) {
        self.units.store(units, Ordering::Relaxed);
    }

    /// The first piece has come, so long after the call's arrival.
    pub(super) fn has_begun(&self, after: Duration) {
        self.first_token_ms.store(
            u64::try_from(after.as_millis()).unwrap_or(NO_TOKEN),
            Ordering::Relaxed,
        );
    }
}

/// The report of a call that came by this route to an answer with these headers; none if its caller
/// doesn't want one.
pub(super) fn of(call: &Call, route: Route, headers: &HeaderMap) -> Option<Box<CallReport>> {
    if !call.wants_report {
        return None;
    }
    let number =
        |number: &AtomicU32| i32::try_from(number.load(Ordering::Relaxed)).unwrap_or(i32::MAX);
    let first_token_ms = call.facts.first_token_ms.load(Ordering::Relaxed);
    let upstream_request_id = headers
        .get(UPSTREAM_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let (model_asked, model, tried) = route.into_names();
    let tried = tried.map(|(model, error)| TriedModel {
        model,
        reason: error.code().to_owned(),
        extra: Extra::new(),
    });
    Some(Box::new(CallReport {
        model_asked,
        model,
        tried: tried.collect(),
        waited_ms: i64::try_from(call.waited().as_millis()).unwrap_or(i64::MAX),
        units: number(&call.facts.units),
        attempts: number(&call.facts.attempts),
        first_token_ms: (first_token_ms != NO_TOKEN)
            .then(|| i64::try_from(first_token_ms).unwrap_or(i64::MAX)),
        upstream_request_id,
        extra: Extra::new(),
    }))
}

type Extra = BTreeMap<String, String>;

/// A message of an answer that can have a report in it.
pub trait Reported {
    /// The report, and the members without a field.
    fn report(&mut self) -> (&mut Option<Box<CallReport>>, &mut BTreeMap<String, String>);

    /// Leaves out what the upstream says by that name: it must not pass as the gateway's own.
    fn leave_out_foreign(&mut self) {
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

/// The last message of a stream whose caller asked for a report.
#[derive(Debug)]
pub(super) struct Last<M> {
    message: M,
    is_named: bool,
}

impl<M: StreamMessage + Reported + Default> Last<M> {
    pub(super) fn with(report: Box<CallReport>) -> Self {
        let mut message = M::default();
        *message.report().0 = Some(report);
        Self {
            message,
            is_named: false,
        }
    }

    /// Takes over what the stream is called, from its first piece.
    pub(super) fn name_like(&mut self, piece: &mut M) {
        if std::mem::replace(&mut self.is_named, true) {
            return;
        }
        let (_, extra) = piece.report();
        // What is of an unexpected type is there.
        let odd = ["id", "object", "created", "model"]
            .map(|name| extra.get(name).map(|value| (name, value.clone())));
        self.message.report().1.extend(
            odd.into_iter()
                .flatten()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let (Some(own), Some(said)) = (self.message.identity_fields(), piece.identity_fields())
        else {
            return;
        };
        let (
            IdentityFields {
                id, created, model, ..
            },
            IdentityFields {
                id: said_id,
                created: said_created,
                model: said_model,
                ..
            },
        ) = (own, said);
        if let (Some((_, id)), Some((_, said))) = (id, said_id) {
            id.clone_from(said);
        }
        if let (Some(created), Some(said)) = (created, said_created) {
            *created = *said;
        }
        model.clone_from(said_model);
    }

    pub(super) fn into_message(self) -> M {
        self.message
    }
}
