//! Parsers of values of `featherwire keys`.

use std::time::{Duration, UNIX_EPOCH};

use crate::keys::{
    PriorityClass,
    clock::{UnixMs, milliseconds, now},
};

/// The longest grace and the longest life of a key that are given as a time from now.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GRACE_MAX: Duration = Duration::from_secs(90 * DAY.as_secs());
const LIFE_MAX: Duration = Duration::from_secs(100 * 366 * DAY.as_secs());

pub(super) fn grace(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(grace) if grace <= GRACE_MAX => Ok(grace),
        Ok(_) => Err("the time must be at most 90 days, such as 24h".to_owned()),
        Err(error) => Err(format!(
            "expected a time with its unit, such as 24h, or 0s to end the present secret at once \
             ({error})"
        )),
    }
}

/// A time from now, or a date and time in UTC.
pub(super) fn expiry(text: &str) -> Result<UnixMs, String> {
    let expected = "expected a time from now, such as 30d, or a date in UTC, such as 2030-01-31 or \
                    2030-01-31T12:00:00Z";
    let text = text.trim();
    if let Ok(life) = humantime::parse_duration(text) {
        return match life {
            Duration::ZERO => Err(format!("a key must live for longer than 0: {expected}")),
            life if life > LIFE_MAX => {
                Err(format!("the time is longer than 100 years: {expected}"))
            }
            life => Ok(now().saturating_add(milliseconds(life))),
        };
    }
    let at = humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")))
        .map_err(|_| expected)?;
    let at = milliseconds(at.duration_since(UNIX_EPOCH).map_err(|_| expected)?);
    if at <= now() {
        return Err(format!("this time has passed: {expected}"));
    }
    Ok(at)
}

/// `NAME=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected NAME=VALUE, such as team=search".to_owned()),
    }
}

/// A positive number of at most the largest `T`.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.trim().replace('_', "").parse::<u64>().ok();
    number
        .filter(|number| *number > 0)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| "expected a whole number of at least 1, such as 60".to_owned())
}

pub(super) fn priority(text: &str) -> Result<PriorityClass, String> {
    match text.trim() {
        "interactive" => Ok(PriorityClass::Interactive),
        "default" => Ok(PriorityClass::Default),
        "batch" => Ok(PriorityClass::Batch),
        _ => Err("expected interactive, default or batch, such as batch".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_expires_after_a_time_or_at_a_date() {
        let in_a_month = now() + 30 * 24 * 3600 * 1000;
        assert!(expiry("30d").is_ok_and(|at| (at - in_a_month).abs() < 60_000));
        assert_eq!(expiry("2100-01-01T00:00:00Z"), Ok(4_102_444_800_000));
        assert_eq!(expiry("2100-01-01"), Ok(4_102_444_800_000));
        assert!(expiry("2020-01-01").unwrap_err().contains("has passed"));
        for bad in [
            "",
            "0s",
            "-1d",
            "30",
            "soon",
            "2001-01-01T00:00:00Z",
            "900y",
        ] {
            assert!(expiry(bad).unwrap_err().contains("such as"), "{bad}");
        }
    }

    #[test]
    fn a_grace_may_be_nothing() {
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert_eq!(grace("24h"), Ok(DAY));
        for bad in ["", "24", "91d", "-1h"] {
            assert!(grace(bad).unwrap_err().contains("such as"), "{bad}");
        }
    }

    #[test]
    fn a_count_is_positive() {
        assert_eq!(count::<u32>("1_000"), Ok(1000));
        for bad in ["", "0", "-1", "1.5", "5000000000", "many"] {
            assert!(count::<u32>(bad).is_err(), "{bad}");
        }
    }
}
