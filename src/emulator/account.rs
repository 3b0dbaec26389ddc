//! The caller's plan and the units in use: `/v1/plan` and `/account/concurrency`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::auth::{Authenticated, AuthenticatedAccount};
use super::endpoint_faults::PlanFault;
use super::refusal::json_type;
use super::state::{Emulator, Shared};

/// In billions of parameters. No model of the catalogue is larger.
const MODEL_SIZE_MAX: u32 = 1_100;

pub async fn plan(_: Authenticated, State(emulator): State<Shared>) -> Response {
    let mut plan = usual_plan(&emulator);
    let text = match emulator.switches.get().plan {
        None => plan.to_string(),
        Some(PlanFault::EmptyObject) => "{}".to_owned(),
        Some(PlanFault::List) => "[]".to_owned(),
        Some(PlanFault::NotJson) => "This is no plan".to_owned(),
        Some(PlanFault::AllNull) => {
            plan.as_object_mut()
                .into_iter()
                .flatten()
                .for_each(|(_, value)| *value = Value::Null);
            plan.to_string()
        }
        Some(PlanFault::NoConcurrency) => {
            plan.as_object_mut()
                .map(|members| members.remove("concurrency"));
            plan.to_string()
        }
        Some(PlanFault::TextConcurrency) => {
            let members = plan.as_object_mut();
            members.map(|members| members.insert("concurrency".to_owned(), json!("eight")));
            plan.to_string()
        }
    };
    (json_type(), text).into_response()
}

/// The plan without faults. `max_model_size` is null, absent or a number, depending on the seed.
fn usual_plan(emulator: &Emulator) -> Value {
    let mut plan = json!({
        "id": "emulator",
        "name": "Featherwire Emulator",
        "max_context_length": 131_072,
        "max_model_size": null,
        "concurrency": emulator.unit_pool.limit(),
    });
    if let Some(members) = plan.as_object_mut() {
        match emulator.config.seed % 3 {
            0 => {}
            1 => drop(members.remove("max_model_size")),
            _ => drop(members.insert("max_model_size".to_owned(), json!(MODEL_SIZE_MAX))),
        }
    }
    plan
}

pub async fn concurrency(_: AuthenticatedAccount, State(emulator): State<Shared>) -> Response {
    (json_type(), snapshot(&emulator)).into_response()
}

/// The units in use as JSON, changed by the `feed` switch if it is set.
pub fn snapshot(emulator: &Emulator) -> String {
    let snapshot = emulator.unit_pool.snapshot();
    let Some(fault) = emulator.switches.get().feed else {
        return serde_json::to_string(&snapshot).unwrap_or_default();
    };
    let mut snapshot = serde_json::to_value(snapshot).unwrap_or_default();
    snapshot
        .as_object_mut()
        .into_iter()
        .for_each(|members| fault.edit(members));
    snapshot.to_string()
}
