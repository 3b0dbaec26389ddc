//! Where the commands read the ledger, and how they show times.

use crate::clock::{UnixMs, milliseconds, now, system_time};

mod remote;
mod source;

pub(super) use remote::{ms, number, unix_ms};
pub(super) use source::{Filter, Source};

/// A time before now, such as `7d`, or a date, or a date and time, in UTC.
pub(super) fn time(text: &str) -> Result<UnixMs, String> {
    let expected = "expected a time before now, such as 7d or 12h, or a date in UTC, such as \
                    2026-11-29 or 2026-11-29T12:00:00Z";
    let text = text.trim();
    if let Ok(before) = humantime::parse_duration(text) {
        return Ok(now().saturating_sub(milliseconds(before)).max(0));
    }
    let at = humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")))
        .map_err(|_| expected)?;
    let since = at.duration_since(std::time::UNIX_EPOCH);
    since.map(milliseconds).map_err(|_| expected.to_owned())
}

/// Such as `2026-11-29T12:00:00Z`.
pub(super) fn rfc3339(at: UnixMs) -> String {
    humantime::format_rfc3339_seconds(system_time(at)).to_string()
}

/// Such as `2026-11-29T12:00:00.123Z`.
pub(super) fn rfc3339_ms(at: UnixMs) -> String {
    humantime::format_rfc3339_millis(system_time(at)).to_string()
}

/// A time in milliseconds, in at most 6 characters: `90ms`, `1.5s`, `12s`, `14m`, `9h`.
pub(super) fn short_time(ms: u64) -> String {
    let tenths = ms / 100;
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..10_000 => format!("{}.{}s", tenths / 10, tenths % 10),
        10_000..600_000 => format!("{}s", ms / 1000),
        600_000..36_000_000 => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

/// A number in at most 6 characters: `9999`, `12.3k`, `4.5M`.
pub(super) fn short_number(number: u64) -> String {
    if number < 10_000 {
        return number.to_string();
    }
    let units = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1000, "k"),
    ];
    let unit = units.into_iter().find(|(size, _)| number >= *size);
    let (size, letter) = unit.unwrap_or((1, ""));
    let (whole, tenth) = (number / size, number % size * 10 / size);
    if whole < 1000 {
        format!("{whole}.{tenth}{letter}")
    } else {
        format!("{whole}{letter}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_before_now_or_a_date() {
        assert!((time("7d").unwrap() - (now() - 7 * 24 * 3600 * 1000)).abs() < 60_000);
        assert_eq!(time("2026-11-29"), Ok(1_795_910_400_000));
        assert_eq!(time("2026-11-29T00:00:01Z"), Ok(1_795_910_401_000));
        assert_eq!(time("2026-11-29 00:00:01"), Ok(1_795_910_401_000));
        for bad in ["", "-1d", "7", "soon", "2026-13-01"] {
            assert!(time(bad).unwrap_err().contains("such as"), "{bad}");
        }
    }

    #[test]
    fn numbers_and_times_are_short() {
        for (number, expected) in [
            (0, "0"),
            (9999, "9999"),
            (12_345, "12.3k"),
            (999_999, "999.9k"),
            (4_560_000, "4.5M"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(short_number(number), expected);
        }
        for (ms, expected) in [
            (999, "999ms"),
            (1550, "1.5s"),
            (12_999, "12s"),
            (599_999, "599s"),
            (900_000, "15m"),
            (36_000_000, "10h"),
        ] {
            assert_eq!(short_time(ms), expected);
        }
    }
}
