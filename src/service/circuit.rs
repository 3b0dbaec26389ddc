//! A circuit breaker for each model. After several failures in a row a model is not asked for a
//! while. Then one call probes it, and the model is used again as soon as that call's answer
//! starts. Calls with a fallback lose no time on it, and calls without one get an error at once.
//! The count of failures ends when an answer finishes successfully.
//!
//! There is a lock, and no task or timer. Whether a circuit is open is asked with the time as an
//! argument.

mod state;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub use state::{State, Status};

use crate::{
    clock,
    error::{Error, ErrorCode, Health},
};

/// Failures do not add up if more than this passes between a failure and the start of the next call
/// that fails.
const FAILURES_WINDOW: Duration = Duration::from_secs(60);

/// The longest time for which a model is not asked; each failed probe doubles the time before it.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// How many models may have failed recently. Callers choose the ids, so their number is limited;
/// beyond it, models have no circuit.
const MODELS_MAX: usize = 4096;

/// The settings of all circuits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many failures in a row open a circuit; 0 for never.
    pub failures: u32,
    /// How long a model is not asked at first.
    pub wait: Duration,
}

/// The circuits of all models. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Circuits {
    settings: Settings,
    models: Arc<Mutex<HashMap<Arc<str>, Circuit>>>,
}

/// The state of a model that has failed recently.
#[derive(Debug)]
struct Circuit {
    failures: u32,
    failed_at: Instant,
    /// The code of the last error.
    why: Box<str>,
    /// For how long the circuit is open this time. Set when it opens, until an answer finishes.
    open_for: Option<Duration>,
    probe: Probe,
}

/// How far an open circuit has come on its way to be closed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Probe {
    None,
    /// One call probes the model.
    Running,
    /// The model has started to answer. All calls may ask it; one more failure opens the circuit
    /// again.
    Answering,
}

/// The permission to ask a model. Tell it how that went; if it is dropped without, nothing is
/// recorded.
#[derive(Debug)]
pub struct CircuitPass {
    circuits: Circuits,
    model: Arc<str>,
    asked_at: Instant,
    is_probe: bool,
}

impl Circuits {
    /// The circuits of models that have not failed yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            models: Arc::default(),
        }
    }

    /// Checks whether this model may be asked now or soon.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if its circuit is open.
    pub fn check(&self, model: &str, now: Instant) -> Result<(), Error> {
        match self
            .models()
            .get(model)
            .and_then(|circuit| Some((circuit, circuit.left(now)?)))
        {
            Some((circuit, left)) if circuit.probe == Probe::Running || !left.is_zero() => {
                Err(circuit.error(model, left))
            }
            _ => Ok(()),
        }
    }

    /// The permission to ask this model now.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if its circuit is open.
    pub fn pass(&self, model: impl Into<Arc<str>>, now: Instant) -> Result<CircuitPass, Error> {
        let (model, mut is_probe) = (model.into(), false);
        if let Some(circuit) = self.models().get_mut(&model)
            && let Some(left) = circuit.left(now)
        {
            if circuit.probe == Probe::Running || !left.is_zero() {
                return Err(circuit.error(&model, left));
            }
            (circuit.probe, is_probe) = (Probe::Running, true);
        }
        Ok(CircuitPass {
            circuits: self.clone(),
            model,
            asked_at: now,
            is_probe,
        })
    }

    fn models(&self) -> MutexGuard<'_, HashMap<Arc<str>, Circuit>> {
        // No code panics while it holds the lock, and the map is consistent after every statement.
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circuit {
    /// For how much longer the circuit is open; `None` if it is closed.
    fn left(&self, now: Instant) -> Option<Duration> {
        if self.probe == Probe::Answering {
            return None;
        }
        Some((self.failed_at + self.open_for?).saturating_duration_since(now))
    }

    /// Whether the failure was so long ago that it can be forgotten.
    fn is_old(&self, now: Instant) -> bool {
        now >= self.failed_at + self.open_for.unwrap_or_default() + FAILURES_WINDOW
    }

    fn error(&self, model: &str, left: Duration) -> Error {
        // If no time is left, a probe runs, for an unknown time.
        let wait = left.max(Duration::from_secs(1));
        let (failures, why, seconds) = (self.failures, &self.why, wait.as_secs_f64().ceil());
        let message = format!(
            "{model} has failed {failures} times in a row ({why}) and is not asked for another \
             {seconds} s: use another model, or name fallbacks in the header (or metadata) \
             x-featherwire-fallback"
        );
        Error::new(ErrorCode::CircuitOpen, message).with_retry_after(wait)
    }
}

impl CircuitPass {
    /// Whether this call alone asks the model, to learn whether it works again.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Records that the model has started to answer. Other calls need not wait for the end of the
    /// answer.
    pub fn record_start(&mut self) {
        if std::mem::take(&mut self.is_probe)
            && let Some(circuit) = self.circuits.models().get_mut(&self.model)
        {
            circuit.probe = Probe::Answering;
        }
    }

    /// Records that the answer finished successfully.
    pub fn record_success(self) {
        let mut models = self.circuits.models();
        // Usually no model has failed.
        if !models.is_empty()
            && models
                .remove(&self.model)
                .is_some_and(|circuit| circuit.open_for.is_some())
        {
            tracing::info!(model = %self.model, "circuit closed");
        }
        drop(models);
    }

    /// Records that the call failed with `error`, which may or may not say something about the
    /// model.
    pub fn record(self, error: &Error) {
        match error.health() {
            Health::Up => self.record_success(),
            Health::Down => self.record_failure(error.code(), Instant::now()),
            Health::Unknown => drop(self),
        }
    }

    /// Records that the model failed with an error of this code.
    pub fn record_failure(mut self, code: &str, now: Instant) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let Settings {
            failures: failures_max,
            wait,
        } = self.circuits.settings;
        if failures_max == 0 {
            return;
        }
        let mut models = self.circuits.models();
        if models.len() >= MODELS_MAX && !models.contains_key(&self.model) {
            models.retain(|_, circuit| circuit.probe == Probe::Running || !circuit.is_old(now));
            if models.len() >= MODELS_MAX {
                return;
            }
        }
        let circuit = models.entry(self.model.clone()).or_insert_with(|| Circuit {
            failures: 0,
            failed_at: now,
            why: code.into(),
            open_for: None,
            probe: Probe::None,
        });
        let open_for = match circuit.open_for {
            Some(open_for) if is_probe || circuit.probe == Probe::Answering => {
                Some((open_for * 2).min(WAIT_MAX))
            }
            // This call began before the circuit opened, so it tells nothing new.
            Some(_) => return,
            None => {
                let is_in_a_row = self.asked_at < circuit.failed_at + FAILURES_WINDOW;
                circuit.failures = if is_in_a_row { circuit.failures } else { 0 };
                (circuit.failures + 1 >= failures_max).then_some(wait)
            }
        };
        *circuit = Circuit {
            failures: circuit.failures.saturating_add(1),
            failed_at: now,
            why: code.into(),
            open_for,
            probe: Probe::None,
        };
        if let Some(open_for) = open_for {
            let open_for_ms = clock::milliseconds(open_for);
            tracing::warn!(model = %self.model, code, open_for_ms, "circuit opened");
        }
    }
}

impl Drop for CircuitPass {
    fn drop(&mut self) {
        if self.is_probe
            && let Some(circuit) = self.circuits.models().get_mut(&self.model)
        {
            circuit.probe = Probe::None;
        }
    }
}

impl fmt::Debug for Circuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(15);

    fn circuits() -> (Circuits, Instant) {
        (
            Circuits::new(Settings {
                failures: 3,
                wait: WAIT,
            }),
            Instant::now(),
        )
    }

    fn fail(circuits: &Circuits, times: u32, now: Instant) {
        (0..times).for_each(|_| {
            circuits
                .pass("m", now)
                .unwrap()
                .record_failure("no_capacity", now)
        });
    }

    #[tokio::test]
    async fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let (circuits, now) = circuits();
        fail(&circuits, 3, now);
        let error = circuits.pass("m", now + WAIT / 3).unwrap_err();
        assert_eq!(
            (error.code(), error.retry_after()),
            ("circuit_open", Some(WAIT * 2 / 3))
        );
        assert!(error.message().contains("no_capacity"), "{error}");
        circuits.pass("other", now).unwrap().record_success();
        let probe = circuits.pass("m", now + WAIT).unwrap();
        assert!(
            circuits.pass("m", now + WAIT).is_err(),
            "one probe at a time"
        );
        probe.record_success();
        fail(&circuits, 2, now + WAIT);
        assert!(
            circuits.pass("m", now + WAIT).is_ok(),
            "closed, and counting from nothing"
        );
    }

    #[tokio::test]
    async fn a_failed_probe_doubles_the_wait_up_to_a_bound() {
        let (circuits, mut now) = circuits();
        fail(&circuits, 3, now);
        for wait in [15, 30, 60, 120, 120].map(Duration::from_secs) {
            assert!(
                circuits
                    .pass("m", now + wait - Duration::from_millis(1))
                    .is_err(),
                "{wait:?}"
            );
            now += wait;
            circuits
                .pass("m", now)
                .unwrap()
                .record_failure("no_capacity", now);
        }
    }

    #[tokio::test]
    async fn an_abandoned_probe_lets_the_next_one_try() {
        let (circuits, now) = circuits();
        fail(&circuits, 3, now);
        drop(circuits.pass("m", now + WAIT).unwrap());
        assert!(circuits.pass("m", now + WAIT).is_ok());
    }

    #[tokio::test]
    async fn a_probe_that_is_answered_lets_others_ask_and_one_failure_opens_it_again() {
        let (circuits, now) = circuits();
        fail(&circuits, 3, now);
        let mut probe = circuits.pass("m", now + WAIT).unwrap();
        assert!(probe.is_probe());
        probe.record_start();
        let other = circuits.pass("m", now + WAIT).unwrap();
        assert!(
            !other.is_probe(),
            "the model answers: other calls do not wait for the end of that answer"
        );
        probe.record_failure("upstream_stream_cut", now + WAIT);
        let error = circuits.pass("m", now + WAIT).unwrap_err();
        assert_eq!(
            error.retry_after(),
            Some(WAIT * 2),
            "one that is cut in the middle has failed"
        );
        assert!(error.message().contains("4 times"), "{error}");
        other.record_success();
        assert!(!circuits.pass("m", now + WAIT).unwrap().is_probe());
    }

    #[tokio::test]
    async fn a_caller_who_leaves_a_probe_in_the_middle_of_its_answer_leaves_the_model_usable() {
        let (circuits, now) = circuits();
        fail(&circuits, 3, now);
        let mut probe = circuits.pass("m", now + WAIT).unwrap();
        probe.record_start();
        drop(probe);
        fail(&circuits, 1, now + WAIT);
        assert!(
            circuits.pass("m", now + WAIT).is_err(),
            "on trial until an answer has come to its end"
        );
    }

    #[tokio::test]
    async fn failures_that_take_long_add_up_too() {
        let (circuits, mut now) = circuits();
        for _ in 0..3 {
            let pass = circuits.pass("m", now).unwrap();
            now += FAILURES_WINDOW * 5;
            pass.record_failure("first_token_timeout", now);
        }
        assert!(circuits.pass("m", now).is_err());
    }

    #[tokio::test]
    async fn what_does_not_come_in_a_row_does_not_add_up() {
        let (circuits, now) = circuits();
        fail(&circuits, 2, now);
        circuits.pass("m", now).unwrap().record_success();
        fail(&circuits, 2, now);
        fail(&circuits, 1, now + FAILURES_WINDOW);
        assert!(circuits.pass("m", now + FAILURES_WINDOW).is_ok());
    }

    #[tokio::test]
    async fn late_failures_of_calls_begun_before_change_nothing() {
        let (circuits, now) = circuits();
        let late = circuits.pass("m", now).unwrap();
        fail(&circuits, 3, now);
        late.record_failure("first_token_timeout", now + WAIT / 2);
        assert!(
            circuits.pass("m", now + WAIT).is_ok(),
            "the wait counts from when it opened"
        );
    }

    #[tokio::test]
    async fn how_many_models_are_remembered_is_bounded_and_zero_turns_circuits_off() {
        let (circuits, now) = circuits();
        for number in 0..MODELS_MAX * 2 {
            circuits
                .pass(number.to_string(), now)
                .unwrap()
                .record_failure("no_capacity", now);
        }
        assert_eq!(circuits.models().len(), MODELS_MAX);
        circuits
            .pass("late", now + FAILURES_WINDOW)
            .unwrap()
            .record_failure("no_capacity", now + FAILURES_WINDOW);
        assert_eq!(circuits.models().len(), 1);
        let off = Circuits::new(Settings {
            failures: 0,
            wait: WAIT,
        });
        fail(&off, 100, now);
        assert!(off.pass("m", now).is_ok());
    }
}
