//! What a call notes for its trace while it asks models.

use std::{sync::Arc, time::Duration};

use super::{call::Call, route::Route};
use crate::{admission::Permit, telemetry::TraceEvent};

/// Notes for the trace that `model` is asked because another one failed.
pub(super) fn trace_fallback(call: &Call, route: &Route, model: &Arc<str>) {
    call.trace(|trace| {
        if let Some((from, error)) = route.last_tried() {
            trace.add_event(|| TraceEvent::fallback(from, model, error));
        }
    });
}

/// Notes for the trace that the call has got units, for which it `waited`.
pub(super) fn trace_units(call: &Call, permit: &Permit, waited: Duration) {
    let units = permit.units();
    call.trace(|trace| trace.add_event(|| TraceEvent::UnitsGranted { units, waited }));
}
