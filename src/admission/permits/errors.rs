//! Why requests do not get their units, and the errors of that.

use std::time::Duration;

use crate::{
    admission::request::EnqueueError,
    error::{Error, ErrorCode, Throttle, UnitRefusal},
};

/// The `Retry-After` if it is not known when units become free.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Why a request does not get its units. It is told to another gateway if the request is of that.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rejection {
    /// The scheduler did not accept it, or does not any more.
    NotAccepted(EnqueueError),
    /// Upstream has refused it too often, or its `Retry-After` is too long to wait for.
    RefusedTooOften {
        /// How often it, or its model, was refused.
        times: u32,
        /// The last refusal.
        refusal: Refusal,
    },
    /// Its wait has ended.
    WaitEnded {
        /// By the caller's deadline, and not by the longest wait of the queue.
        by_caller_deadline: bool,
        /// The longest wait of the queue.
        queue_timeout: Duration,
    },
}

/// A refusal of upstream for lack of units.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Refusal {
    /// What it says about the units.
    pub(super) units: UnitRefusal,
    /// The id that upstream gave to the request.
    pub(super) upstream_request_id: Option<String>,
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            units: error.unit_refusal().unwrap_or_default(),
            upstream_request_id: error.upstream_request_id().map(str::to_owned),
        }
    }
}

impl Rejection {
    /// The error of a request for `model`.
    pub(super) fn into_error(self, model: &str) -> Error {
        match self {
            Self::NotAccepted(error) => rejected(error, model),
            Self::RefusedTooOften { times, refusal } => refused_too_often(model, times, refusal),
            Self::WaitEnded {
                by_caller_deadline,
                queue_timeout,
            } => wait_ended(by_caller_deadline, queue_timeout),
        }
    }
}

/// The scheduler did not accept a request for `model`.
fn rejected(error: EnqueueError, model: &str) -> Error {
    match error {
        EnqueueError::ExceedsPlan { cost, capacity } => exceeds_plan(cost, capacity, model),
        EnqueueError::ExceedsKey { cost, units_max } => {
            let message = format!(
                "{model} costs {cost} concurrency units, and the calls of this gateway key may \
                 hold {units_max} at once: use a smaller model, or another key"
            );
            Error::new(ErrorCode::ModelNotAllowed, message)
                .with_param("model")
                .with_model(model)
                .with_limit(usize::try_from(units_max).unwrap_or(usize::MAX))
        }
        EnqueueError::QueueFull { limit, retry_after } => {
            let message = match limit {
                0 => "All concurrency units are in use, and no request may wait for them \
                      (--queue-limit 0): try again later"
                    .to_owned(),
                _ => format!(
                    "The queue for concurrency units is full: {limit} requests may wait in all \
                     (--queue-limit), and each key may use a part of that: try again a little later"
                ),
            };
            Error::new(ErrorCode::QueueFull, message)
                .with_retry_after(retry_after)
                .with_limit(limit)
        }
        EnqueueError::TooLate { wait } => {
            let seconds = wait.as_secs_f64().ceil();
            let message = format!(
                "The account's concurrency units are in use, and this request would start in \
                 about {seconds} s, after its deadline or the longest wait (--queue-timeout): \
                 allow more time, or try again later"
            );
            Error::new(ErrorCode::NoUnitsInTime, message).with_retry_after(wait)
        }
    }
}

/// The model costs more units than the plan has.
fn exceeds_plan(cost: u32, capacity: u32, model: &str) -> Error {
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

/// Upstream has refused the model too often, or its `Retry-After` is too long to wait for. The
/// numbers of the last `refusal` go with the error.
fn refused_too_often(model: &str, times: u32, refusal: Refusal) -> Error {
    let times = if times == 1 {
        "once".to_owned()
    } else {
        format!("{times} times")
    };
    let message = format!(
        "Featherless refused {model} for lack of concurrency units ({times}): try again later, or \
         use another model"
    );
    let units = refusal.units;
    let error = Error::new(ErrorCode::ConcurrencyLimitExceeded, message);
    let limit = units.limit.and_then(|limit| usize::try_from(limit).ok());
    let error = limit.into_iter().fold(error, Error::with_limit);
    error
        .with_retry_after(units.retry_after.unwrap_or(RETRY_AFTER))
        .with_throttle(Throttle::Units(units))
        .with_upstream_request_id(refusal.upstream_request_id)
}

/// A wait has ended without units: by the caller's deadline, or by the longest wait of the queue.
fn wait_ended(by_caller_deadline: bool, queue_timeout: Duration) -> Error {
    if by_caller_deadline {
        return Error::deadline_exceeded("concurrency units became free");
    }
    let seconds = queue_timeout.as_secs_f64();
    let message = format!(
        "No concurrency units became free within {seconds} s (--queue-timeout): try again, or use \
         a model that costs fewer units"
    );
    Error::new(ErrorCode::QueueTimeout, message).with_retry_after(RETRY_AFTER)
}
