//! A circuit breaker for each model, and one for each account. After several failures in a row a
//! model is not asked for a while. Then one call probes it, and the model is used again as soon as
//! that call's answer starts. Calls with a fallback lose no time on it, and calls without one get an
//! error at once. The count of failures ends when an answer finishes successfully.
//!
//! There is a lock, and no task or timer. Whether a circuit is open is asked with the time as an
//! argument.

mod shared;
mod state;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use shared::News;
use tokio::{sync::mpsc, time::Instant};

pub use shared::SharedCircuits;
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

/// How long a probe of an account keeps other calls away. The answer to a call that is not streamed
/// may take much longer, and says nothing until it is complete.
const ACCOUNT_PROBE_MAX: Duration = Duration::from_secs(5);

/// The settings of all circuits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many failures in a row open a circuit; 0 for never.
    pub failures: u32,
    /// How long a model is not asked at first.
    pub wait: Duration,
}

/// What the circuits are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Models,
    Accounts,
}

/// The circuits of all models, or of all accounts. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Circuits(Arc<Shared>);

struct Shared {
    subject: Subject,
    /// The account whose models these are, in lines of the log. Empty if it is the only one.
    account: Box<str>,
    settings: Settings,
    models: Mutex<HashMap<Arc<str>, Circuit>>,
    /// Tells other gateways of circuits that open and close here.
    news: OnceLock<mpsc::Sender<News>>,
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
    /// One call probes the model, and this is when it began.
    Running(Instant),
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
    /// The circuits of models that have not failed yet. Lines of the log name the `account`, unless
    /// it is empty.
    pub fn new(account: &str, settings: Settings) -> Self {
        Self::of(Subject::Models, account, settings)
    }

    fn of(subject: Subject, account: &str, settings: Settings) -> Self {
        Self(Arc::new(Shared {
            subject,
            account: account.into(),
            settings,
            models: Mutex::default(),
            news: OnceLock::new(),
        }))
    }

    /// The circuits of accounts, by their names. One refusal opens them, because the same key would
    /// be refused again. They are not asked for `wait` at first.
    pub fn of_accounts(wait: Duration) -> Self {
        let settings = Settings { failures: 1, wait };
        Self::of(Subject::Accounts, "", settings)
    }

    /// The permission to ask although the circuit may be open, because nothing else can be asked.
    pub fn pass_anyway(&self, model: impl Into<Arc<str>>, now: Instant) -> CircuitPass {
        let model = model.into();
        let pass = self.pass(Arc::clone(&model), now);
        pass.unwrap_or_else(|_| CircuitPass {
            circuits: self.clone(),
            model,
            asked_at: now,
            is_probe: false,
        })
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
            Some((circuit, left)) if self.is_probed(circuit, now) || !left.is_zero() => {
                Err(circuit.error(self.0.subject, model, left))
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
            if self.is_probed(circuit, now) || !left.is_zero() {
                return Err(circuit.error(self.0.subject, &model, left));
            }
            (circuit.probe, is_probe) = (Probe::Running(now), true);
        }
        Ok(CircuitPass {
            circuits: self.clone(),
            model,
            asked_at: now,
            is_probe,
        })
    }

    /// Whether a probe keeps other calls away.
    fn is_probed(&self, circuit: &Circuit, now: Instant) -> bool {
        match (circuit.probe, self.0.subject) {
            (Probe::Running(_), Subject::Models) => true,
            (Probe::Running(since), Subject::Accounts) => now < since + ACCOUNT_PROBE_MAX,
            (Probe::None | Probe::Answering, _) => false,
        }
    }

    fn models(&self) -> MutexGuard<'_, HashMap<Arc<str>, Circuit>> {
        // No code panics while it holds the lock, and the map is consistent after every statement.
        self.0.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one more model may have failed recently. Forgets what is long ago, if it must.
fn has_room(models: &mut HashMap<Arc<str>, Circuit>, model: &str, now: Instant) -> bool {
    if models.len() >= MODELS_MAX && !models.contains_key(model) {
        models.retain(|_, circuit| circuit.has_probe() || !circuit.is_old(now));
    }
    models.len() < MODELS_MAX || models.contains_key(model)
}

impl Circuit {
    fn has_probe(&self) -> bool {
        matches!(self.probe, Probe::Running(_))
    }

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

    fn error(&self, subject: Subject, model: &str, left: Duration) -> Error {
        // If no time is left, a probe runs, for an unknown time.
        let wait = left.max(Duration::from_secs(1));
        let (failures, why, seconds) = (self.failures, &self.why, wait.as_secs_f64().ceil());
        let message = match subject {
            Subject::Models => format!(
                "{model} has failed {failures} times in a row ({why}) and is not asked for \
                 another {seconds} s: use another model, or name fallbacks in the header (or \
                 metadata) x-featherwire-fallback"
            ),
            Subject::Accounts => format!(
                "No account of the gateway can answer now. The account {model} was refused \
                 ({why}) and is not asked for another {seconds} s: the gateway's owner must check \
                 its key and its plan"
            ),
        };
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
            let account = &*self.circuits.0.account;
            match self.circuits.0.subject {
                Subject::Models => tracing::info!(account, model = %self.model, "circuit closed"),
                Subject::Accounts => {
                    tracing::info!(account = %self.model, "account is accepted again");
                }
            }
            self.circuits.tell(News::closed(&self.model));
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
        } = self.circuits.0.settings;
        if failures_max == 0 {
            return;
        }
        let mut models = self.circuits.models();
        if !has_room(&mut models, &self.model, now) {
            return;
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
            let account = &*self.circuits.0.account;
            match self.circuits.0.subject {
                Subject::Models => {
                    let model = &*self.model;
                    tracing::warn!(account, model, code, open_for_ms, "circuit opened");
                }
                Subject::Accounts => tracing::warn!(
                    account = %self.model,
                    code,
                    open_for_ms,
                    "an account was refused and is not asked for a while"
                ),
            }
            let news = News::opened(&self.model, circuit.failures, code, open_for_ms);
            self.circuits.tell(news);
        }
    }
}

impl Drop for CircuitPass {
    fn drop(&mut self) {
        // Another call may probe it since then.
        if self.is_probe
            && let Some(circuit) = self.circuits.models().get_mut(&self.model)
            && circuit.probe == Probe::Running(self.asked_at)
        {
            circuit.probe = Probe::None;
        }
    }
}

impl fmt::Debug for Circuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
