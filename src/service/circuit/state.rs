//! The states of circuits, for monitoring.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Circuit, Circuits, Probe};

/// The state of a circuit, for monitoring. A model that has not failed recently has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The model has failed, and is asked nevertheless.
    Closed,
    /// The model is not asked.
    Open,
    /// One call probes the model, or its answer has started.
    HalfOpen,
}

impl State {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The position in a list: what keeps calls away comes first.
    const fn rank(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::HalfOpen => 1,
            Self::Closed => 2,
        }
    }
}

/// What is known of one circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The model.
    pub model: Arc<str>,
    /// The state of its circuit.
    pub state: State,
    /// How often the model has failed in a row.
    pub failures: u32,
    /// The code of the last error.
    pub error_code: Box<str>,
    /// The time until a call may probe the model, if the circuit is open.
    pub open_for: Option<Duration>,
}

impl Circuits {
    /// At most `most` circuits: open ones first, then those that are probed, then by model.
    /// Failures that are long ago do not count.
    pub fn list(&self, now: Instant, most: usize) -> Vec<Status> {
        let models = self.models();
        let mut list: Vec<_> = models
            .iter()
            .filter(|(_, circuit)| !circuit.is_old(now))
            .map(|(model, circuit)| circuit.status(model, now))
            .collect();
        drop(models);
        list.sort_unstable_by(|a, b| (a.state.rank(), &a.model).cmp(&(b.state.rank(), &b.model)));
        list.truncate(most);
        list
    }

    /// How many models have a circuit in this state. Failures that are long ago do not count.
    pub fn count(&self, state: State, now: Instant) -> usize {
        let models = self.models();
        models
            .values()
            .filter(|circuit| !circuit.is_old(now) && circuit.state() == state)
            .count()
    }
}

impl Circuit {
    fn status(&self, model: &Arc<str>, now: Instant) -> Status {
        let state = self.state();
        let left = self.left(now);
        Status {
            model: Arc::clone(model),
            state,
            failures: self.failures,
            error_code: self.why.clone(),
            open_for: left.filter(|_| state == State::Open),
        }
    }

    fn state(&self) -> State {
        match (self.open_for, self.probe) {
            (None, _) => State::Closed,
            (Some(_), Probe::None) => State::Open,
            (Some(_), Probe::Running(_) | Probe::Answering) => State::HalfOpen,
        }
    }
}
