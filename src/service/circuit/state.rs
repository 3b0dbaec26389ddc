//! The states of circuits, for monitoring.

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
}

impl Circuits {
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
    fn state(&self) -> State {
        match (self.open_for, self.probe) {
            (None, _) => State::Closed,
            (Some(_), Probe::None) => State::Open,
            (Some(_), Probe::Running | Probe::Answering) => State::HalfOpen,
        }
    }
}
