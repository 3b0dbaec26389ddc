//! What those are told who don't get their units.

use std::time::Duration;

use super::Want;
use crate::{
    admission::request::EnqueueError,
    error::{Error, ErrorCode, Throttle},
};

/// When to try again if nobody knows when units come free.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// One may not even wait.
pub(super) fn refused(refusal: EnqueueError, want: &Want) -> Error {
    let seconds = |time: Duration| time.as_secs_f64().ceil();
    match refusal {
        EnqueueError::ExceedsPlan { cost, capacity } => never_fits(cost, capacity, &want.model),
        EnqueueError::QueueFull { limit, retry_after } => {
            let message = match limit {
                0 => "All concurrency units are taken, and no call may wait for them \
                      (--queue-limit 0): try again later"
                    .to_owned(),
                _ => format!(
                    "As many calls wait for concurrency units as may: {limit} in all, or this \
                     key's part of that (--queue-limit): try again a little later"
                ),
            };
            Error::new(ErrorCode::QueueFull, message)
                .with_retry_after(retry_after)
                .with_limit(limit)
        }
        EnqueueError::TooLate { wait } => {
            let message = format!(
                "The account's concurrency units are taken, and at the present rate this call \
                 could start in about {} s, after its deadline or the longest wait \
                 (--queue-timeout): allow more time, or try again later",
                seconds(wait)
            );
            Error::new(ErrorCode::NoUnitsInTime, message).with_retry_after(wait)
        }
    }
}

/// The plan has fewer units than it costs.
pub(super) fn never_fits(cost: u32, capacity: u32, model: &str) -> Error {
    let message = format!(
        "{model} costs {cost} concurrency units and the Featherless account's plan has \
         {capacity}: change the plan, or use a smaller model"
    );
    Error::new(ErrorCode::ModelExceedsPlan, message)
        .with_param("model")
        .with_model(model)
        .with_limit(usize::try_from(capacity).unwrap_or(usize::MAX))
        .with_help("https://featherless.ai/account/subscription")
}

/// Upstream has refused a request of this model too often, or wants a longer wait than is worth it.
pub(super) fn refused_in_vain(model: &str, times: u32, refusal: &Error) -> Error {
    let times = if times == 1 {
        "once".to_owned()
    } else {
        format!("{times} times")
    };
    let message = format!(
        "Featherless refused {model} for want of concurrency units ({times}): try again later, or \
         use another model"
    );
    let units = refusal.unit_refusal().unwrap_or_default();
    let error = Error::new(ErrorCode::ConcurrencyLimitExceeded, message);
    let limit = units.limit.and_then(|limit| usize::try_from(limit).ok());
    let error = limit.into_iter().fold(error, Error::with_limit);
    error
        .with_retry_after(units.retry_after.unwrap_or(RETRY_AFTER))
        .with_throttle(Throttle::Units(units))
        .with_upstream_request_id(refusal.upstream_request_id().map(str::to_owned))
}

/// The longest wait has passed, or the caller's deadline before it.
pub(super) fn waited_too_long(is_hurried: bool, queue_timeout: Duration) -> Error {
    if is_hurried {
        return Error::deadline_exceeded("concurrency units became free");
    }
    let seconds = queue_timeout.as_secs_f64();
    let message = format!(
        "No concurrency units came free within {seconds} s (--queue-timeout): try again, or use a \
         model that costs fewer units"
    );
    Error::new(ErrorCode::QueueTimeout, message).with_retry_after(RETRY_AFTER)
}
