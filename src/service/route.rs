//! Which models may answer a call: the one that is asked for, then its fallbacks, each used when
//! the one before failed before the caller saw anything of its answer, in a way that another model
//! can cure.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{
    circuit::{Circuits, Pass},
    reply::Reply,
};
use crate::{
    error::{Error, ErrorCode, Kind},
    upstream::Catalogue,
};

/// The header, and metadata key, that names the model which answers, if it isn't the one asked for.
pub const MODEL: &str = "x-featherwire-model";

/// The header, and metadata key, with the models that were tried before, and why each of them
/// failed.
pub const TRIED: &str = "x-featherwire-tried";

/// How long a stream must have been silent until its caller's deadline for that to count against
/// the model. With less, the caller was only impatient.
const SILENCE_MIN: Duration = Duration::from_secs(20);

/// The same for an answer that comes whole, which is silent while it is made: as long as
/// Featherless's front end waits.
const SILENCE_OF_WHOLE_MIN: Duration = Duration::from_secs(90);

/// The way of one call from model to model.
#[derive(Debug)]
pub struct Route {
    circuits: Circuits,
    catalogue: Catalogue,
    deadline: Option<Instant>,
    /// How long the first token of a model is waited for that another one follows.
    first_token_max: Duration,
    /// The name that the caller asked for.
    asked: String,
    /// Those still to be tried, the next one last.
    left: Vec<String>,
    /// Those that failed, and how.
    tried: Vec<(String, Error)>,
    /// The one that answers.
    answers: String,
    /// What the model must be able to hold, in tokens: more than those that failed for it.
    context_length_above: Option<i32>,
}

/// One model's turn to answer. Dropped, it is given up: by its caller, or by the caller's deadline.
#[derive(Debug)]
pub struct Attempt {
    /// The model to ask.
    pub model: String,
    /// How long its first token is waited for, if another model follows.
    pub first_token_max: Option<Duration>,
    circuits: Circuits,
    pass: Option<Pass>,
    deadline: Option<Instant>,
    /// Since when nothing has come of the model, and how long it may be before that says something.
    silence: Option<(Instant, Duration)>,
}

impl Attempt {
    /// The model is asked for a stream now. Not before: one that waits for units must not be the
    /// one that probes a circuit. True if it is asked as a probe, which is one try.
    ///
    /// # Errors
    /// Unavailable, if the model's circuit has opened while the call waited for units.
    pub fn begin(&mut self) -> Result<bool, Error> {
        self.begin_by(SILENCE_MIN)
    }

    /// The same for an answer that comes whole.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_whole(&mut self) -> Result<bool, Error> {
        self.begin_by(SILENCE_OF_WHOLE_MIN)
    }

    fn begin_by(&mut self, silence_min: Duration) -> Result<bool, Error> {
        let now = Instant::now();
        let pass = self.circuits.pass(&self.model, now)?;
        self.silence = Some((now, silence_min));
        Ok(self.pass.insert(pass).is_probe())
    }

    /// The call waits for units again: while it does, it keeps nobody else from asking the model.
    pub fn pause(&mut self) {
        self.silence = None;
        self.pass = None;
    }

    /// The model has begun to answer.
    pub fn has_begun(&mut self) {
        self.silence = None;
        self.pass.iter_mut().for_each(Pass::begun);
    }

    /// The pass, for an answer whose end will be told to it later.
    pub fn take_pass(&mut self) -> Option<Pass> {
        self.pass.take()
    }

    fn failed(&mut self, error: &Error) {
        if error.is_callers_deadline() {
            self.is_late();
        } else if let Some(pass) = self.pass.take() {
            pass.told(error);
        }
    }

    /// The caller's deadline has passed. That says something of a model that was silent for long,
    /// and nothing else.
    fn is_late(&mut self) {
        let (pass, silence) = (self.pass.take(), self.silence.take());
        if let (Some(pass), Some((since, silence_min))) = (pass, silence)
            && since.elapsed() >= silence_min
        {
            pass.failed(ErrorCode::DeadlineExceeded.as_str(), Instant::now());
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // The caller's deadline drops whatever runs.
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            self.is_late();
        }
    }
}

impl Route {
    /// The way over these models, of which the first is the one called `asked`, by an alias
    /// perhaps. The call has this deadline. A model that another one follows has `first_token_max`
    /// for its first token.
    pub fn new<'a>(
        circuits: Circuits,
        catalogue: Catalogue,
        asked: &str,
        models: impl Iterator<Item = &'a str>,
        deadline: Option<Instant>,
        first_token_max: Duration,
    ) -> Self {
        let mut left = Vec::new();
        for model in models {
            if !left.iter().any(|other| other == model) {
                left.push(model.to_owned());
            }
        }
        left.reverse();
        let (asked, tried, answers, context_length_above) =
            (asked.to_owned(), Vec::new(), String::new(), None);
        Self {
            circuits,
            catalogue,
            deadline,
            first_token_max,
            asked,
            left,
            tried,
            answers,
            context_length_above,
        }
    }

    /// The next model to ask.
    ///
    /// # Errors
    /// Unavailable, if the circuits of all that are left are open.
    pub async fn next(&mut self) -> Result<Attempt, Error> {
        while let Some(model) = self.left.pop() {
            // One whose length isn't known may be long enough: it was named on purpose.
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
            match self.circuits.check(&model, now) {
                Ok(()) => {
                    let is_followed = self
                        .left
                        .iter()
                        .any(|next| self.circuits.check(next, now).is_ok());
                    return Ok(Attempt {
                        model,
                        first_token_max: is_followed.then_some(self.first_token_max),
                        circuits: self.circuits.clone(),
                        pass: None,
                        deadline: self.deadline,
                        silence: None,
                    });
                }
                Err(error) => self.tried.push((model, error)),
            }
        }
        Err(self.error())
    }

    /// The end of a model's turn: its answer, with headers that say who answers and what was tried
    /// before; or none, if another model may be asked.
    ///
    /// # Errors
    /// What to tell the caller, if this was the last one.
    pub async fn end<T>(
        &mut self,
        mut attempt: Attempt,
        result: Result<Reply<T>, Error>,
    ) -> Result<Option<Reply<T>>, Error> {
        match result {
            Ok(mut answered) => {
                attempt.take_pass().into_iter().for_each(Pass::succeeded);
                self.sign(&attempt.model, &mut answered.headers);
                self.answers = std::mem::take(&mut attempt.model);
                Ok(Some(answered))
            }
            Err(error) => {
                attempt.failed(&error);
                self.failed(&attempt.model, error).await.map(|()| None)
            }
        }
    }

    /// After an answer: the name that was asked for, the model that answers, and those that were
    /// tried before.
    pub fn into_names(self) -> (String, String, impl Iterator<Item = (String, Error)>) {
        (self.asked, self.answers, self.tried.into_iter())
    }

    async fn failed(&mut self, model: &str, error: Error) -> Result<(), Error> {
        if error.ends_call() {
            return Err(error);
        }
        if error.is_context_too_long() {
            // One that isn't known can't be compared with.
            self.context_length_above = self
                .context_length_above
                .max(self.catalogue.context_length(model).await);
        }
        let is_first = self.tried.is_empty();
        // A fallback that doesn't exist is the fault of its name, and no refusal of what the caller
        // asks for.
        let is_curable = error.allows_fallback() || (!is_first && error.kind() == Kind::NotFound);
        let error = if is_first {
            self.catalogue.suggest(model, error).await
        } else {
            error
        };
        self.tried.push((model.to_owned(), error));
        if is_curable && !self.left.is_empty() {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    /// Adds to these headers who answers, if it goes by another name than the one asked for, and
    /// what was tried before.
    fn sign(&self, model: &str, headers: &mut HeaderMap) {
        let tried: Vec<_> = self
            .tried
            .iter()
            .map(|(model, error)| format!("{model}={}", error.code()))
            .collect();
        let who = (model != self.asked).then(|| (MODEL, model.to_owned()));
        let tried = (!tried.is_empty()).then(|| (TRIED, tried.join(", ")));
        for (name, value) in [who, tried].into_iter().flatten() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    /// The first model's error, for that is the one that was asked for, with what became of the
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
