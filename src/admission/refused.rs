//! What those are told who don't get their units.

use std::time::Duration;

use super::{ask::Refusal, permits::Want};
use crate::error::{Error, Kind};

/// One may not even wait.
pub(super) fn refused(refusal: Refusal, want: &Want) -> Error {
    let seconds = |time: Duration| time.as_secs_f64().ceil();
    match refusal {
        Refusal::NeverFits { cost, capacity } => never_fits(cost, capacity, &want.model),
        Refusal::QueueFull { limit, retry_after } => {
            let message = match limit {
                0 => {
                    "All concurrency units are taken, and no call may wait for them (--queue-limit 0): try again later"
                        .to_owned()
                }
                _ => format!(
                    "As many calls wait for concurrency units as may: {limit} in all, or this key's part of that \
                     (--queue-limit): try again a little later"
                ),
            };
            Error::new(Kind::Saturated, "queue_full", message).with_retry_after(retry_after)
        }
        Refusal::TooLate { wait } => {
            let message = format!(
                "The account's concurrency units are taken, and at the present rate this call could start in about {} s, \
                 after its deadline or the longest wait (--queue-timeout): allow more time, or try again later",
                seconds(wait)
            );
            Error::new(Kind::Saturated, "no_units_in_time", message).with_retry_after(wait)
        }
    }
}

/// The plan has fewer units than it costs.
pub(super) fn never_fits(cost: u32, capacity: u32, model: &str) -> Error {
    let message = format!(
        "{model} costs {cost} concurrency units and the Featherless account's plan has {capacity}: change the plan, or use \
         a smaller model"
    );
    Error::new(Kind::Forbidden, "model_exceeds_plan", message)
        .with_param("model")
        .with_help("https://featherless.ai/account/subscription")
}

/// One that had stepped aside has waited too long.
pub(super) fn refused_in_vain(model: &str) -> Error {
    let message = format!(
        "Featherless went on refusing {model} for want of units, though each time there were some: use another model, or \
         try again later"
    );
    Error::new(Kind::Saturated, "concurrency_limit_exceeded", message).with_retry_after(Duration::from_secs(10))
}

/// The longest wait has passed, or the caller's deadline before it.
pub(super) fn waited_too_long(is_hurried: bool, queue_timeout: Duration) -> Error {
    if is_hurried {
        let message = "The caller's own deadline passed before concurrency units came free: allow more time, or use a \
                       model that costs fewer units";
        return Error::new(Kind::Timeout, "deadline_exceeded", message);
    }
    let seconds = queue_timeout.as_secs_f64();
    let message = format!(
        "No concurrency units came free within {seconds} s (--queue-timeout): try again, or use a model that costs \
         fewer units"
    );
    Error::new(Kind::Saturated, "queue_timeout", message).with_retry_after(Duration::from_secs(10))
}
