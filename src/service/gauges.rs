//! What the services tell the metrics when these are asked for: the queue for units, the circuits
//! and the catalogue.

use tokio::time::Instant;

use super::{
    circuit::{Circuits, State},
    units::Units,
};
use crate::{
    admission::Priority,
    telemetry::metrics::{Samples, table},
    upstream::Catalogue,
};

/// What the services have to tell. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gauges {
    pub(super) units: Units,
    pub(super) circuits: Circuits,
    pub(super) catalogue: Catalogue,
}

impl Gauges {
    /// Adds the metrics of the services.
    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    pub fn collect(&self, samples: &mut Samples) {
        let status = self.units.queue_status();
        samples.add_known(table::UNITS_CAPACITY, status.capacity.map(f64::from));
        samples.add(table::UNITS_IN_USE, &[], status.in_use.into());
        samples.add(table::UNITS_EXTERNAL, &[], status.external_units.into());
        samples.add(table::UNITS_COOLING_DOWN, &[], status.cooldown_units.into());
        samples.add(table::RUNNING, &[], status.running as f64);
        for class in Priority::ALL {
            let waiting = *status.queued.of(class) as f64;
            samples.add(table::QUEUED, &[name_of(class)], waiting);
        }
        let oldest = status.oldest.unwrap_or_default();
        samples.add(table::QUEUE_OLDEST, &[], oldest.as_secs_f64());
        let now = Instant::now();
        for state in State::ALL {
            let number = self.circuits.count(state, now) as f64;
            samples.add(table::CIRCUITS, &[state.name()], number);
        }
        if let Some(catalogue) = self.catalogue.cached() {
            samples.add(table::CATALOGUE_AGE, &[], catalogue.age().as_secs_f64());
            samples.add(table::CATALOGUE_MODELS, &[], catalogue.len() as f64);
        }
    }
}

fn name_of(class: Priority) -> &'static str {
    match class {
        Priority::Interactive => "interactive",
        Priority::Default => "default",
        Priority::Batch => "batch",
    }
}
