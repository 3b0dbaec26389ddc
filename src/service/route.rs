//! Which models may answer a call: the one that is asked for, then its fallbacks, each used when the one before failed
//! before its first byte in a way that another model can cure.

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::circuit::{Circuits, Pass};
use crate::{
    error::{Error, Kind},
    upstream::Catalogue,
};

/// The header, and metadata key, that names the model which answers, if it isn't the one asked for.
pub const MODEL: &str = "x-featherwire-model";

/// The header, and metadata key, with the models that were tried before, and why each of them failed.
pub const TRIED: &str = "x-featherwire-tried";

/// What makes a model count as down, for its circuit.
const DOWN: [&str; 4] = ["no_capacity", "first_token_timeout", "upstream_timeout", "upstream_error"];

/// What another model can cure, besides a model that is down. Refusals for what is asked are none of it: another model
/// must not be the way around them. A cold model says so at once, each time, and better than an open circuit could.
const CURABLE: [&str; 7] = [
    "circuit_open",
    "context_length_exceeded",
    "model_exceeds_plan",
    "model_gated",
    "model_not_ready",
    "model_not_on_plan",
    "upstream_stream_failed",
];

/// The way of one call from model to model.
#[derive(Debug)]
pub struct Route {
    circuits: Circuits,
    catalogue: Catalogue,
    /// Those still to be tried, the next one last.
    left: Vec<String>,
    /// Those that failed, and how.
    tried: Vec<(String, Error)>,
    /// What the model must be able to hold, in tokens: more than those that failed for it.
    context_length_above: Option<i32>,
}

/// One try.
#[derive(Debug)]
pub struct Attempt {
    /// The model to ask.
    pub model: String,
    circuits: Circuits,
    pass: Option<Pass>,
}

impl Attempt {
    /// The model is asked now. Not before: one that waits for units must not be the one that probes a circuit.
    ///
    /// # Errors
    /// Unavailable, if the model's circuit has opened meanwhile.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.pass = Some(self.circuits.pass(&self.model, Instant::now())?);
        Ok(())
    }
}

impl Route {
    /// The way from this model over these fallbacks.
    pub fn new(circuits: Circuits, catalogue: Catalogue, model: &str, fallbacks: &[String]) -> Self {
        let mut left = vec![model.to_owned()];
        for fallback in fallbacks {
            if !left.contains(fallback) {
                left.push(fallback.clone());
            }
        }
        left.reverse();
        Self { circuits, catalogue, left, tried: Vec::new(), context_length_above: None }
    }

    /// The next model to ask.
    ///
    /// # Errors
    /// Unavailable, if the circuits of all that are left are open.
    pub async fn next(&mut self) -> Result<Attempt, Error> {
        while let Some(model) = self.left.pop() {
            if let Some(above) = self.context_length_above
                && self.catalogue.context_length(&model).await.is_none_or(|length| length <= above)
            {
                continue;
            }
            match self.circuits.check(&model, Instant::now()) {
                Ok(()) => return Ok(Attempt { model, circuits: self.circuits.clone(), pass: None }),
                Err(error) => self.tried.push((model, error)),
            }
        }
        Err(self.error())
    }

    /// The try has failed. Returns if another model may cure that.
    ///
    /// # Errors
    /// What to tell the caller, if this was the last try.
    pub async fn failed(&mut self, Attempt { model, pass, .. }: Attempt, error: Error) -> Result<(), Error> {
        if error.code() == "deadline_exceeded" {
            // The caller's time is up, whoever was being asked.
            return Err(error);
        }
        let is_down = error.kind() != Kind::Invalid && DOWN.contains(&error.code());
        match pass {
            Some(pass) if is_down => pass.failed(error.code(), Instant::now()),
            pass => drop(pass),
        }
        let is_curable = is_down || CURABLE.contains(&error.code());
        if error.code() == "context_length_exceeded" {
            let length = self.catalogue.context_length(&model).await;
            // One that isn't known can't be compared with.
            self.context_length_above = Some(length.unwrap_or(i32::MAX));
        }
        let error = self.catalogue.suggest(&model, error).await;
        self.tried.push((model, error));
        if is_curable && !self.left.is_empty() { Ok(()) } else { Err(self.error()) }
    }

    /// The try has succeeded. Adds to these headers who answers, and what was tried before.
    pub fn succeeded(self, Attempt { model, pass, .. }: Attempt, headers: &mut HeaderMap) {
        pass.into_iter().for_each(Pass::succeeded);
        if self.tried.is_empty() {
            return;
        }
        let tried: Vec<_> = self.tried.iter().map(|(model, error)| format!("{model}={}", error.code())).collect();
        for (name, value) in [(MODEL, model), (TRIED, tried.join(", "))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    /// The first model's error, for that is the one that was asked for, with what became of the others.
    fn error(&mut self) -> Error {
        let mut tried = std::mem::take(&mut self.tried).into_iter();
        let Some((_, error)) = tried.next() else { return Error::internal("a route without a model") };
        let others: Vec<_> = tried.map(|(model, error)| format!("{model} ({})", error.code())).collect();
        if others.is_empty() { error } else { error.with_also(&others) }
    }
}
