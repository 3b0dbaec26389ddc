//! The units as plain text: for other programs, and for one look.

use std::{fmt::Write as _, time::Duration};

use super::{
    super::printable,
    accounts,
    circuits::{outlook, reason},
    cluster,
};
use crate::proto::v1::{Concurrency, GatewayUnits};

/// The width of the bar of units, in characters.
const BAR_WIDTH: usize = 40;

/// The largest number of requests that is shown.
const REQUESTS_SHOWN_MAX: usize = 20;

/// The largest number of models that fail that is shown.
const CIRCUITS_SHOWN_MAX: usize = 20;

/// The same on one line.
const CIRCUITS_IN_LINE_MAX: usize = 3;

/// The state on one line.
pub(super) fn line(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    format!(
        "used {} of {}  gateway {}  others {}  running {}  waiting {}  longest wait {}  \
         refused {}  undecodable {}  failing {}{}{}\n",
        count(used(snapshot)),
        limit(snapshot),
        gateway.in_use,
        gateway.outside,
        gateway.running,
        waiting(&gateway),
        seconds(gateway.oldest_wait_ms),
        gateway.refusals,
        gateway.odd_messages,
        gateway.circuits.len(),
        failing_in_line(&gateway),
        gateway
            .cluster
            .as_ref()
            .map_or_else(String::new, |cluster| {
                format!("  cluster: {}", cluster::words(cluster))
            }),
    )
}

/// The first models that fail: at the end of a line, because their number varies.
fn failing_in_line(gateway: &GatewayUnits) -> String {
    let mut text = String::new();
    for circuit in gateway.circuits.iter().take(CIRCUITS_IN_LINE_MAX) {
        let model = printable::line(&circuit.model);
        let reason = reason(circuit);
        let reason = printable::line(&reason);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{} {model} ({reason}, {})",
            if text.is_empty() { ":" } else { "," },
            outlook(circuit, Duration::ZERO)
        );
    }
    text
}

/// The state on several lines.
pub(super) fn display(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    let mut text = format!(
        "units    {}  {} of {} used\n         {} by this gateway, {} by other processes, \
         {} in cooldown\n",
        bar(&gateway, snapshot),
        count(used(snapshot)),
        limit(snapshot),
        gateway.in_use,
        gateway.outside,
        gateway.settling,
    );
    let queued = gateway.queued.clone().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "waiting  {}: {} interactive, {} default, {} batch; longest wait {} so far\nwaits    \
         p50 {}, p99 {}{}\nrefused  {} by Featherless",
        waiting(&gateway),
        queued.interactive,
        queued.default,
        queued.batch,
        seconds(gateway.oldest_wait_ms),
        seconds(gateway.wait_p50_ms),
        seconds(gateway.wait_p99_ms),
        if waiting(&gateway) > 0 {
            " including requests that still wait"
        } else {
            " recently"
        },
        gateway.refusals,
    );
    if let Some(cluster) = &gateway.cluster {
        let _ = writeln!(text, "cluster  {}", cluster::words(cluster));
    }
    for account in &snapshot.accounts {
        let name = printable::line(&account.name);
        let words = accounts::words(account, Duration::ZERO);
        let _ = writeln!(text, "account  {name}: {}", printable::line(&words));
    }
    if gateway.odd_messages > 0 {
        let odd = gateway.odd_messages;
        let _ = writeln!(
            text,
            "ignored  {odd} messages from Featherless about units could not be decoded"
        );
    }
    let _ = writeln!(text, "\n  KEY  WEIGHT  UNITS  WAITING  UNIT-SECONDS");
    for key in &gateway.keys {
        let (number, weight, units) = (key.key, key.weight, key.in_use);
        let _ = writeln!(
            text,
            "{number:>5}  {weight:>6}  {units:>5}  {:>7}  {:>12.0}",
            key.queued, key.unit_seconds
        );
    }
    let _ = writeln!(text, "\nUNITS    FOR  MODEL");
    for request in snapshot.requests.iter().take(REQUESTS_SHOWN_MAX) {
        let (cost, running) = (count(request.cost), seconds(request.duration_ms));
        let model = printable::line(request.model.as_deref().unwrap_or("?"));
        let _ = writeln!(text, "{cost:>5}  {running:>5}  {model}");
    }
    if let Some(more) = snapshot
        .requests
        .len()
        .checked_sub(REQUESTS_SHOWN_MAX)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(text, "              and {more} more");
    }
    failing(&mut text, &gateway);
    text
}

/// The models that fail, if there are any.
fn failing(text: &mut String, gateway: &GatewayUnits) {
    if gateway.circuits.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\nFAILS FOR                  NOW                     MODEL"
    );
    for circuit in gateway.circuits.iter().take(CIRCUITS_SHOWN_MAX) {
        let reason = reason(circuit);
        let _ = writeln!(
            text,
            "{:<25}  {:<22}  {}",
            printable::line(&reason),
            outlook(circuit, Duration::ZERO),
            printable::line(&circuit.model)
        );
    }
    let shown = CIRCUITS_SHOWN_MAX.min(gateway.circuits.len());
    if gateway.circuits.len() > shown {
        let _ = writeln!(text, "and {} more", gateway.circuits.len() - shown);
    }
}

/// The units in use, in cooldown too. The gateway's own numbers are newer than the upstream's.
pub(super) fn used(snapshot: &Concurrency) -> Option<i32> {
    match &snapshot.gateway {
        Some(gateway) => {
            let own = gateway.in_use.saturating_add(gateway.settling);
            Some(own.saturating_add(gateway.outside))
        }
        None => snapshot.used_cost,
    }
}

/// The units that the gateway schedules, or else those of the plan. `None` if there is no limit, or
/// Featherless does not send it.
pub(super) fn units_max(snapshot: &Concurrency) -> Option<i32> {
    let scheduled = snapshot.gateway.as_ref().and_then(|own| own.capacity);
    scheduled.or(snapshot.limit)
}

/// A number, or `?` if Featherless does not send it.
pub(super) fn count(number: Option<i32>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// A bar of the units: `#` for this gateway, `+` for other processes, `.` for free units.
fn bar(gateway: &GatewayUnits, snapshot: &Concurrency) -> String {
    let size = |units: i32| usize::try_from(units).unwrap_or_default();
    let number = |number: Option<i32>| size(number.unwrap_or_default());
    let total = number(units_max(snapshot))
        .max(number(used(snapshot)))
        .max(1);
    let scaled = |units: i32| (size(units) * BAR_WIDTH).div_ceil(total).min(BAR_WIDTH);
    let own_units = scaled(gateway.in_use);
    let other_units = scaled(gateway.outside).min(BAR_WIDTH - own_units);
    format!(
        "[{}{}{}]",
        "#".repeat(own_units),
        "+".repeat(other_units),
        ".".repeat(BAR_WIDTH - own_units - other_units)
    )
}

/// The number of waiting requests.
pub(super) fn waiting(gateway: &GatewayUnits) -> i32 {
    gateway.queued.as_ref().map_or(0, |queued| {
        queued.interactive + queued.default + queued.batch
    })
}

/// The limit of the units, or `?` if it is not known.
pub(super) fn limit(snapshot: &Concurrency) -> String {
    match units_max(snapshot) {
        None if snapshot.unlimited => "unlimited".to_owned(),
        limit => count(limit),
    }
}

/// Milliseconds as seconds, or `-` if they are unknown.
pub(super) fn seconds(milliseconds: Option<i64>) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    milliseconds.map_or_else(
        || "-".to_owned(),
        |milliseconds| format!("{:.1} s", milliseconds as f64 / 1000.0),
    )
}
