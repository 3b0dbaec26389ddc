//! The units as plain text: for other programs, and for one look.

use std::fmt::Write as _;

use super::super::printable;
use crate::proto::v1::{Concurrency, GatewayUnits};

/// The width of the bar of units, in characters.
const BAR_WIDTH: usize = 40;

/// The largest number of requests that is shown.
const REQUESTS_SHOWN_MAX: usize = 20;

/// The state on one line.
pub(super) fn line(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    format!(
        "used {} of {}  gateway {}  others {}  running {}  waiting {}  longest wait {}  \
         refused {}  undecodable {}\n",
        count(snapshot.used_cost),
        limit(snapshot),
        gateway.in_use,
        gateway.outside,
        gateway.running,
        waiting(&gateway),
        seconds(gateway.oldest_wait_ms),
        gateway.refusals,
        gateway.odd_messages,
    )
}

/// The state on several lines.
pub(super) fn display(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    let mut text = format!(
        "units    {}  {} of {} used\n         {} by this gateway, {} by other processes, \
         {} in cooldown\n",
        bar(&gateway, snapshot),
        count(snapshot.used_cost),
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
    text
}

/// A number, or `?` if Featherless does not send it.
pub(super) fn count(number: Option<i32>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// A bar of the units: `#` for this gateway, `+` for other processes, `.` for free units.
fn bar(gateway: &GatewayUnits, snapshot: &Concurrency) -> String {
    let size = |units: i32| usize::try_from(units).unwrap_or_default();
    let total = size(snapshot.limit.unwrap_or_default())
        .max(size(snapshot.used_cost.unwrap_or_default()))
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

/// The limit of the plan, or `?` if Featherless does not send it.
pub(super) fn limit(snapshot: &Concurrency) -> String {
    if snapshot.unlimited {
        "unlimited".to_owned()
    } else {
        count(snapshot.limit)
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

/// The state in a few words.
pub(in super::super) fn in_words(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    format!(
        "{} of {} units in use · {} in the queue",
        count(snapshot.used_cost),
        limit(snapshot),
        waiting(&gateway)
    )
}
