//! What the services tell the metrics when these are asked for: the queue for units, the circuits
//! and the catalogue.

use tokio::time::Instant;

use super::{
    accounts::{Accounts, UpstreamAccount},
    circuit::State,
};
use crate::{
    admission::{Priority, Role},
    telemetry::metrics::{Samples, table},
    upstream::Catalogue,
};

/// What the services have to tell. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gauges {
    pub(super) accounts: Accounts,
    pub(super) catalogue: Catalogue,
}

impl Gauges {
    /// Adds the metrics of the services.
    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    pub fn collect(&self, samples: &mut Samples) {
        let now = Instant::now();
        let accounts = self.accounts.list();
        for account in accounts {
            // The samples of a gateway with one account have no such label.
            let label = match accounts.len() {
                1 => "",
                _ => &*account.name,
            };
            collect_account(account, label, now, samples);
            if !label.is_empty() {
                let is_refused = self.accounts.circuits().check(label, now).is_err();
                let is_refused = f64::from(u8::from(is_refused));
                samples.add(table::ACCOUNT_REFUSED, &[label], is_refused);
            }
        }
        if let Some(catalogue) = self.catalogue.cached() {
            samples.add(table::CATALOGUE_AGE, &[], catalogue.age().as_secs_f64());
            samples.add(table::CATALOGUE_MODELS, &[], catalogue.len() as f64);
        }
    }
}

/// Adds the metrics of one account.
#[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
fn collect_account(account: &UpstreamAccount, label: &str, now: Instant, samples: &mut Samples) {
    let cluster = account.units.cluster_status();
    // The queue is told by the gateway that has it, so that sums over gateways are right.
    if cluster
        .as_ref()
        .is_none_or(|cluster| cluster.role != Role::Following)
    {
        collect_queue(account, label, samples);
    }
    if let Some(cluster) = cluster {
        for role in [Role::Leading, Role::Following, Role::Alone] {
            let is_so = f64::from(u8::from(cluster.role == role));
            samples.add(table::CLUSTER_ROLE, &[name_of_role(role), label], is_so);
        }
        samples.add(table::CLUSTER_MEMBERS, &[label], cluster.members as f64);
    }
    let refusals = account.units.refusals() as f64;
    samples.add(table::ACCOUNT_UNIT_REFUSALS, &[label], refusals);
    for state in State::ALL {
        let number = account.circuits.count(state, now) as f64;
        samples.add(table::CIRCUITS, &[state.name(), label], number);
    }
}

/// Adds the metrics of the queue of an account.
#[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
fn collect_queue(account: &UpstreamAccount, label: &str, samples: &mut Samples) {
    let status = account.units.queue_status();
    if let Some(capacity) = status.capacity {
        samples.add(table::UNITS_CAPACITY, &[label], capacity.into());
    }
    samples.add(table::UNITS_IN_USE, &[label], status.in_use.into());
    samples.add(
        table::UNITS_EXTERNAL,
        &[label],
        status.external_units.into(),
    );
    samples.add(
        table::UNITS_COOLING_DOWN,
        &[label],
        status.cooldown_units.into(),
    );
    samples.add(table::RUNNING, &[label], status.running as f64);
    for class in Priority::ALL {
        let waiting = *status.queued.of(class) as f64;
        samples.add(table::QUEUED, &[name_of(class), label], waiting);
    }
    let oldest = status.oldest.unwrap_or_default();
    samples.add(table::QUEUE_OLDEST, &[label], oldest.as_secs_f64());
}

fn name_of(class: Priority) -> &'static str {
    match class {
        Priority::Interactive => "interactive",
        Priority::Default => "default",
        Priority::Batch => "batch",
    }
}

fn name_of_role(role: Role) -> &'static str {
    match role {
        Role::Leading => "leading",
        Role::Following => "following",
        Role::Alone => "alone",
    }
}
