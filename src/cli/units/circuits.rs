//! The models that fail, in words.

use std::time::Duration;

use super::plain::seconds;
use crate::proto::v1::{CircuitState, ModelCircuit};

/// What a model fails for: the last error, and how often it has failed in a row.
pub(super) fn reason(circuit: &ModelCircuit) -> String {
    format!("{} ×{}", circuit.error_code, circuit.failures)
}

/// What happens to calls of the model. `age` is the time since the gateway has told it.
pub(super) fn outlook(circuit: &ModelCircuit, age: Duration) -> String {
    match circuit.state() {
        CircuitState::Open => {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            match circuit.open_for_ms.map(|ms| ms.saturating_sub(age)) {
                Some(left @ 1..) => format!("rests for {}", seconds(Some(left))),
                _ => "the next call tries it".to_owned(),
            }
        }
        CircuitState::HalfOpen => "one call tries it".to_owned(),
        CircuitState::Closed => "still in use".to_owned(),
        CircuitState::Unspecified => "unknown".to_owned(),
    }
}
