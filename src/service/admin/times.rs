//! Times and durations of protobuf.

use std::time::Duration;

use prost_types::Timestamp;

use crate::{
    error::{Error, Result},
    keys::clock::{UnixMs, milliseconds, now},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest life of a key that is given as a time from now.
const LIFE_MAX: Duration = Duration::from_secs(100 * 366 * DAY.as_secs());

/// The longest grace time.
const GRACE_MAX: Duration = Duration::from_secs(90 * DAY.as_secs());

/// The first second of the year 10000, which RFC 3339 cannot write.
const SECONDS_END: i64 = 253_402_300_800;

/// A time as protobuf has it.
pub(crate) fn timestamp(at: UnixMs) -> Timestamp {
    let nanos = at.rem_euclid(1000) * 1_000_000;
    Timestamp {
        seconds: at.div_euclid(1000),
        // Less than a second.
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// A time of the field `param`.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a time before 1970 or after the year 9999.
pub(super) fn time(param: &str, at: Timestamp) -> Result<UnixMs> {
    let is_valid = (0..SECONDS_END).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos);
    if !is_valid {
        let problem = "expected a time after the year 1969 and before the year 10000";
        return Err(Error::invalid(param, problem));
    }
    Ok(at.seconds.saturating_mul(1000) + i64::from(at.nanos / 1_000_000))
}

/// The length of a time in the field `param`, in milliseconds.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a negative time.
pub(super) fn length_ms(param: &str, length: prost_types::Duration) -> Result<i64> {
    Duration::try_from(length).map(milliseconds).map_err(|_| {
        let problem = "must not be negative: expected a time such as 604800s";
        Error::invalid(param, problem)
    })
}

/// A time of the field `param` that is not over.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a time that has passed, or that is after the
/// year 9999.
pub(super) fn future(param: &str, at: Timestamp) -> Result<UnixMs> {
    let at = time(param, at)?;
    if at <= now() {
        let problem = "expected a time that is later than now and before the year 10000";
        return Err(Error::invalid(param, problem));
    }
    Ok(at)
}

/// The time after `life` in the field `param`.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for 0, a negative time, or more than 100 years.
pub(super) fn after(param: &str, life: prost_types::Duration) -> Result<UnixMs> {
    match Duration::try_from(life) {
        Ok(life) if life > Duration::ZERO && life <= LIFE_MAX => {
            Ok(now().saturating_add(milliseconds(life).max(1)))
        }
        _ => {
            let problem = "expected a time of more than 0 and at most 100 years, such as 2592000s";
            Err(Error::invalid(param, problem))
        }
    }
}

/// The grace time of a rotation. Unset: 24 hours.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a negative time or more than 90 days.
pub(super) fn grace(grace: Option<prost_types::Duration>) -> Result<Duration> {
    match grace.map_or(Ok(DAY), Duration::try_from) {
        Ok(grace) if grace <= GRACE_MAX => Ok(grace),
        _ => Err(Error::invalid(
            "grace",
            "expected a time from 0s to 90 days, such as 3600s",
        )),
    }
}
