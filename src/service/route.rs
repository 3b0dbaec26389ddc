//! The route of a call through models: the requested one, then its fallbacks. A fallback is used if
//! the model before it failed before the caller got anything of the answer, and another model can
//! cure the failure.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    accounts::{Accounts, Allowed},
    circuit::{CircuitPass, Circuits},
};
use crate::{
    error::{AccountFault, Error, ErrorCode, Kind},
    upstream::Catalogue,
};

/// The name of a model. Cheap to clone.
pub type ModelName = Arc<str>;

/// The route of one call.
#[derive(Debug)]
pub(super) struct Route {
    accounts: Accounts,
    /// The accounts that the caller's key may use.
    pub(super) allowed: Allowed,
    catalogue: Catalogue,
    deadline: Option<Instant>,
    /// How long to wait for the first token of a model that another one follows.
    first_token_max: Duration,
    /// The name that the caller asked for.
    requested: ModelName,
    /// The models that are left, the next one last.
    left: Vec<ModelName>,
    /// The models that failed, and their errors.
    tried: Vec<(ModelName, Error)>,
    /// The model that answers; `None` until one does.
    answering: Option<ModelName>,
    /// The context length that a model must exceed, in tokens: a shorter one has failed for it.
    context_length_above: Option<i32>,
}

/// The model of a route that is asked now. It is dropped if the caller disconnects, or at the
/// caller's deadline.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The model to ask.
    pub(super) model: ModelName,
    /// How long to wait for its first token, if another model follows.
    pub(super) first_token_max: Option<Duration>,
    pass: Option<CircuitPass>,
    deadline: Option<Instant>,
    /// Since when the model has been silent, and from which time on that counts against it.
    silence: Option<(Instant, Duration)>,
}

impl Candidate {
    /// Starts asking the model at the account with these `circuits`. Call this after the call got
    /// its units, because a call that waits for units must not probe a circuit. True if it is a
    /// probe, which is sent only once. See
    /// [`Exchange::SILENCE_MIN`](super::exchange::Exchange::SILENCE_MIN).
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the model's circuit has opened since the call waits for units.
    pub(super) fn start(
        &mut self,
        circuits: &Circuits,
        silence_min: Duration,
    ) -> Result<bool, Error> {
        let now = Instant::now();
        let pass = circuits.pass(Arc::clone(&self.model), now)?;
        self.silence = Some((now, silence_min));
        Ok(self.pass.insert(pass).is_probe())
    }

    /// The call waits for units again. Until then it does not keep others from asking the model.
    pub(super) fn pause(&mut self) {
        self.silence = None;
        self.pass = None;
    }

    /// Records that the model has started to answer.
    pub(super) fn mark_answering(&mut self) {
        self.silence = None;
        self.pass.iter_mut().for_each(CircuitPass::record_start);
    }

    /// Takes the pass, for an answer that goes on.
    pub(super) fn take_pass(&mut self) -> Option<CircuitPass> {
        self.pass.take()
    }

    /// Records that the model failed at the account that was asked.
    pub(super) fn record_error(&mut self, error: &Error) {
        if error.is_callers_deadline() {
            self.record_deadline();
        } else if let Some(pass) = self.pass.take() {
            pass.record(error);
        }
    }

    /// Records that the caller's deadline has passed. It counts only against a model that was
    /// silent for long.
    fn record_deadline(&mut self) {
        let (pass, silence) = (self.pass.take(), self.silence.take());
        if let (Some(pass), Some((since, silence_min))) = (pass, silence)
            && since.elapsed() >= silence_min
        {
            pass.record_failure(ErrorCode::DeadlineExceeded.as_str(), Instant::now());
        }
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // The caller's deadline drops everything that runs.
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.record_deadline();
        }
    }
}

impl Route {
    /// A route over `models`, of which the first is the one that the caller asked for as
    /// `requested`, at the `allowed` accounts. `deadline` is the call's. A model that another one
    /// follows has `first_token_max` for its first token.
    pub(super) fn new(
        accounts: Accounts,
        allowed: Allowed,
        catalogue: Catalogue,
        requested: ModelName,
        models: impl Iterator<Item = ModelName>,
        deadline: Option<Instant>,
        first_token_max: Duration,
    ) -> Self {
        let mut left = Vec::new();
        for model in models {
            if !left.contains(&model) {
                left.push(model);
            }
        }
        left.reverse();
        Self {
            accounts,
            allowed,
            catalogue,
            deadline,
            first_token_max,
            requested,
            left,
            tried: Vec::new(),
            answering: None,
            context_length_above: None,
        }
    }

    /// The next model to ask.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the circuits of all models that are left are open;
    /// [`Kind::NotFound`] if no account has the requested one.
    pub(super) async fn next(&mut self) -> Result<Candidate, Error> {
        while let Some(model) = self.left.pop() {
            // A model whose length is not known may be long enough: it was named on purpose.
            if let Some(above) = self.context_length_above
                && self
                    .catalogue
                    .context_length(&model)
                    .await
                    .is_some_and(|length| length <= above)
            {
                continue;
            }
            let now = Instant::now();
            match self.accounts.check(self.allowed, &model, now) {
                Ok(()) => {
                    let is_followed = self
                        .left
                        .iter()
                        .any(|next| self.accounts.check(self.allowed, next, now).is_ok());
                    return Ok(Candidate {
                        model,
                        first_token_max: is_followed.then_some(self.first_token_max),
                        pass: None,
                        deadline: self.deadline,
                        silence: None,
                    });
                }
                Err(error) => self.record_error(&model, error).await?,
            }
        }
        Err(self.error())
    }

    /// Takes the `result` of asking `candidate`. Returns its answer, or `None` if another model
    /// may be asked.
    ///
    /// # Errors
    /// The error for the caller, if this was the last model.
    pub(super) async fn take_result<T>(
        &mut self,
        mut candidate: Candidate,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(answer) => {
                candidate
                    .take_pass()
                    .into_iter()
                    .for_each(CircuitPass::record_success);
                self.answering = Some(Arc::clone(&candidate.model));
                Ok(Some(answer))
            }
            Err(error) => {
                candidate.record_error(&error);
                self.record_error(&candidate.model, error)
                    .await
                    .map(|()| None)
            }
        }
    }

    /// The model that answers, if it has another name than the requested one.
    pub(super) fn other_model(&self) -> Option<&str> {
        self.answering
            .as_deref()
            .filter(|model| **model != *self.requested)
    }

    /// The models that failed before one answered, and the codes of their errors.
    pub(super) fn tried(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tried
            .iter()
            .map(|(model, error)| (&**model, error.code()))
    }

    /// The model that failed before the next one, and its error.
    pub(super) fn last_tried(&self) -> Option<&(ModelName, Error)> {
        self.tried.last()
    }

    /// After a reply: the name that the caller asked for, the model that answers, and the models
    /// that were tried before.
    pub fn into_parts(self) -> (ModelName, Option<ModelName>, Vec<(ModelName, Error)>) {
        (self.requested, self.answering, self.tried)
    }

    /// Records that `model` failed.
    ///
    /// # Errors
    /// The error for the caller, if no other model may be asked.
    async fn record_error(&mut self, model: &ModelName, error: Error) -> Result<(), Error> {
        if error.ends_call() {
            return Err(error);
        }
        if error.is_context_too_long() {
            // A length that is not known cannot be compared.
            self.context_length_above = self
                .context_length_above
                .max(self.catalogue.context_length(model).await);
        }
        let is_first = self.tried.is_empty();
        // If a fallback does not exist, its name is wrong. That does not refuse the caller's
        // request.
        let is_curable = error.allows_fallback()
            || (!is_first && error.kind() == Kind::NotFound)
            // Another model may be at an account that works.
            || (self.accounts.are_several() && error.account_fault() == AccountFault::Refused);
        let error = if is_first {
            self.catalogue.suggest(model, error).await
        } else {
            error
        };
        self.tried.push((Arc::clone(model), error));
        if is_curable && !self.left.is_empty() {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    /// The error of the first model, because the caller asked for it, with the errors of the
    /// others.
    fn error(&mut self) -> Error {
        let mut tried = std::mem::take(&mut self.tried).into_iter();
        let Some((_, error)) = tried.next() else {
            return Error::internal("a route without a model");
        };
        let others: Vec<_> = tried
            .map(|(model, error)| format!("{model} ({})", error.code()))
            .collect();
        if others.is_empty() {
            error
        } else {
            error.with_also(&others)
        }
    }
}
