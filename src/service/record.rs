//! What the ledger, the log and the metrics get of a call, at its end.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;

use super::{call::Call, dispatch::resolved, validate};
use crate::{
    error::{Error, ErrorCode, Refusal, Result},
    keys::Amounts,
    ledger::{Ending, Record, Rpc, Tokens, fixed_id},
    telemetry::{CallEnd, End, ModelEnd, TokenCounts},
    upstream::{Catalogue, catalogue::Snapshot},
};

/// The longest text that comes from upstream, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// How long a caller waits before the ledger may have room again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a call asks for, and who answers.
#[derive(Debug, Default)]
pub(super) struct Subject {
    /// The model, as the caller wrote it.
    asked: Option<Arc<str>>,
    /// The model that answers; before that, the one that is asked.
    model: Option<Arc<str>>,
    /// The model that is asked for, by its name upstream.
    resolved: Option<Arc<str>>,
    /// Tells whether there is a model that has not answered. A name that no model has would have
    /// sums of its own.
    catalogue: Option<Arc<Snapshot>>,
    /// The account that was asked last. `None` if the gateway has one account.
    account: Option<Arc<str>>,
    upstream_request_id: Option<Box<str>>,
}

/// What a call has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    tokens: Tokens,
    requests: u64,
    /// The units that the last attempt held.
    units: u32,
    unit_ms: u64,
}

impl Used {
    /// What the budgets of the key are charged.
    pub(super) fn amounts(&self) -> Amounts {
        Amounts {
            tokens: self.tokens.prompt.saturating_add(self.tokens.completion),
            requests: self.requests,
            unit_ms: self.unit_ms,
        }
    }
}

impl Call {
    /// Notes the model that a request names, and returns its names. `None` for what can be no
    /// model.
    pub(super) fn note_asked(
        &self,
        id: &str,
        catalogue: &Catalogue,
    ) -> Option<(Arc<str>, Arc<str>)> {
        validate::model(id).ok()?;
        let (asked, model) = resolved(id, &catalogue.names());
        let mut subject = self.subject();
        subject.asked = Some(Arc::clone(&asked));
        subject.model = Some(Arc::clone(&model));
        subject.resolved = Some(Arc::clone(&model));
        subject.catalogue = catalogue.current();
        Some((asked, model))
    }

    /// Refuses a call of a key with budgets, if its record would be lost.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable).
    pub(super) fn check_ledger(&self) -> Result<()> {
        if self.ledger.has_room() || !self.identity.has_budgets() {
            return Ok(());
        }
        let message = "The gateway cannot record what keys use at the moment, so calls of keys \
                       with budgets are refused: try again soon";
        Err(Error::new(ErrorCode::LedgerUnavailable, message).with_retry_after(RETRY_AFTER))
    }

    /// Notes the model that answers, and the upstream's id of the answer.
    pub(super) fn note_answer(&self, model: &Arc<str>, request_id: Option<&HeaderValue>) {
        let id = request_id.and_then(|id| id.to_str().ok());
        let mut subject = self.subject();
        subject.model = Some(Arc::clone(model));
        subject.upstream_request_id = id.map(limited);
    }

    /// Notes that `account` is asked now, one of several.
    pub(super) fn note_account(&self, account: &Arc<str>) {
        self.subject().account = Some(Arc::clone(account));
    }

    /// What the call has used, if it ends so.
    pub(super) fn used(&self, ending: Ending, error: Option<&Error>, duration: Duration) -> Used {
        let stats = &self.stats;
        // It was not the model that failed.
        let is_cut = error.is_some_and(Error::is_callers_deadline) || self.cut().is_some();
        // A request that failed before its answer cost nothing. One that was cut may have been read
        // by the model.
        let is_charged = match ending {
            Ending::Finished => true,
            Ending::Failed if !is_cut => stats.has_answer(),
            Ending::Failed | Ending::Cancelled => stats.has_answer() || stats.sent.may_be_read(),
        };
        if !is_charged {
            return Used::default();
        }
        Used {
            tokens: stats.tokens(),
            requests: 1,
            units: stats.units(),
            unit_ms: stats.unit_ms(duration),
        }
    }

    /// Gives the ledger the record of the call, if models answer such calls, and tells the log and
    /// the metrics.
    pub(super) fn record(
        &self,
        ending: Ending,
        error: Option<&Error>,
        used: &Used,
        duration: Duration,
    ) {
        let subject = std::mem::take(&mut *self.subject());
        let is_in_catalogue = |model: &str| {
            let catalogue = subject.catalogue.as_ref();
            catalogue.is_some_and(|catalogue| catalogue.has(model))
        };
        let has_answer = self.stats.has_answer();
        let model = subject
            .model
            .filter(|model| has_answer || is_in_catalogue(model))
            .unwrap_or_default();
        let of_error = || error.and_then(Error::upstream_request_id).map(limited);
        let upstream_request_id = subject.upstream_request_id.or_else(of_error);
        if let Some(observation) = &self.observation {
            let asked = match subject.resolved {
                Some(asked) if asked == model => Arc::clone(&model),
                Some(asked) if is_in_catalogue(&asked) => asked,
                _ => Arc::default(),
            };
            // The log has it of failures, and spans of all calls.
            let has_id = ending == Ending::Failed || observation.trace().is_some();
            let id = upstream_request_id.as_ref().filter(|_| has_id).cloned();
            let of_model = || self.model_end(asked, &model, used, duration, id);
            observation.note_end(CallEnd {
                end: match ending {
                    Ending::Finished => End::Finished,
                    Ending::Failed => End::Failed,
                    Ending::Cancelled => End::Cancelled,
                },
                error: error.map(Refusal::from),
                duration,
                key: self.identity.shared_name(),
                rpc: self.rpc.map(Rpc::name),
                // A call without the name of a model has nothing of one.
                model: subject.asked.as_ref().map(|_| of_model()),
            });
        }
        let Some(rpc) = self.rpc.filter(|_| self.ledger.is_on()) else {
            return;
        };
        let (ended_at, id) = self.ledger.stamp();
        let stats = &self.stats;
        self.ledger.send(Record {
            ended_at,
            id,
            key_id: self
                .identity
                .id()
                .unwrap_or_else(|| fixed_id(self.identity.name())),
            key_name: self.identity.shared_name(),
            door: self.door,
            rpc,
            model_asked: subject.asked.unwrap_or_default(),
            model,
            account: subject.account.unwrap_or_default(),
            ending,
            error_code: error.map(|error| limited(error.code())),
            tokens: used.tokens,
            units: used.units,
            unit_ms: used.unit_ms,
            waited_ms: stats.waited_ms_until(duration),
            first_token_ms: stats.first_token_ms(),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            attempts: stats.sent.number(),
            request_id: Some(self.id()).filter(|id| !id.is_empty()).map(limited),
            upstream_request_id,
        });
    }

    fn model_end(
        &self,
        asked: Arc<str>,
        model: &Arc<str>,
        used: &Used,
        duration: Duration,
        upstream_request_id: Option<Box<str>>,
    ) -> ModelEnd {
        let stats = &self.stats;
        ModelEnd {
            asked,
            model: Arc::clone(model),
            tokens: TokenCounts {
                prompt: used.tokens.prompt,
                completion: used.tokens.completion,
                reasoning: used.tokens.reasoning,
                cached: used.tokens.cached,
            },
            // Also of a call that its key is not charged for.
            units: stats.units(),
            unit_ms: stats.unit_ms(duration),
            has_answer: stats.has_answer(),
            waited_ms: stats.waited_ms_until(duration),
            first_token_ms: stats.first_token_ms(),
            attempts: stats.sent.number(),
            retries: stats.retries(),
            fallbacks: stats.fallbacks(),
            refusals: stats.refusals(),
            request_bytes: self.body().map(|body| body.arrived() as u64),
            upstream_request_id,
        }
    }

    fn subject(&self) -> MutexGuard<'_, Subject> {
        self.subject.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a text that others have written, without control characters. PostgreSQL does
/// not take all of them.
fn limited(text: &str) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX
        && (validate::is_visible_ascii(text) || !text.chars().any(char::is_control))
    {
        return text.into();
    }
    let chars = text.chars().filter(|char| !char.is_control());
    let kept: String = chars.take(TEXT_BYTES_MAX / 4).collect();
    kept.into()
}
