//! `/emulator/switches`: reads and sets the switches while the emulator runs. `/emulator/counts`:
//! what it has done. These endpoints are not part of Featherless's API.

use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::refusal::{Refusal, json_type};
use super::state::{Emulator, Shared};
use super::switches::Switch;

pub async fn show(State(emulator): State<Shared>) -> Response {
    all(&emulator)
}

/// How many requests of models have got units, since the start.
pub async fn counts(State(emulator): State<Shared>) -> Response {
    let granted = emulator.granted.load(Ordering::Relaxed);
    (json_type(), json!({"granted": granted}).to_string()).into_response()
}

/// Sets the switch `name` to the value in the body, which is plain text.
pub async fn set(
    State(emulator): State<Shared>,
    Path(name): Path<String>,
    value: String,
) -> Result<Response, Refusal> {
    let switch: Switch = format!("{name}={value}")
        .parse()
        .map_err(|problem: String| Refusal::invalid(&name, "invalid_value", problem))?;
    emulator.set(switch);
    Ok(all(&emulator))
}

fn all(emulator: &Emulator) -> Response {
    let named = emulator.switches.get().named();
    let mut all: Map<String, Value> = named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    all.insert("units".to_owned(), emulator.unit_pool.limit().into());
    (json_type(), Value::Object(all).to_string()).into_response()
}
