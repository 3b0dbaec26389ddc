//! Parsers of values: times, sizes, numbers, switches. An error gives an example and never repeats
//! the value, because the value may be a secret.

use std::time::Duration;

use bytesize::ByteSize;

use crate::workers::WORKERS_MAX;

/// The longest accepted time: adding it to the current time must not overflow.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text);
    match duration.map_err(|error| {
        format!("expected a time with its unit, such as 500ms, 10s or 5m ({error})")
    })? {
        Duration::ZERO => Err("the time must be longer than 0, such as 10s".to_owned()),
        duration if duration > DURATION_MAX => {
            Err("the time must be at most a year, such as 10s".to_owned())
        }
        duration => Ok(duration),
    }
}

/// The largest accepted size. No machine has as much, so a larger one is a mistake.
const SIZE_MAX: ByteSize = ByteSize::pib(1);

/// Parses the variable of a switch. A value that means neither yes nor no is an error.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "" | "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err("expected a switch, such as true or false".to_owned()),
    }
}

pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(size) if size > SIZE_MAX => {
            Err("the size must be at most 1PiB, such as 32MiB".to_owned())
        }
        Ok(size) if size.as_u64() > 0 => Ok(size),
        _ => Err("expected a size in bytes of at least 1, such as 32MiB or 500000".to_owned()),
    }
}

pub(super) fn connections(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(connections) if connections > 0 => Ok(connections),
        _ => Err("expected a whole number of at least 1, such as 1024".to_owned()),
    }
}

pub(super) fn workers(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(workers) if (1..=WORKERS_MAX).contains(&workers) => Ok(workers),
        _ => Err(format!(
            "expected a whole number from 1 to {WORKERS_MAX}, such as 4"
        )),
    }
}

pub(super) fn weight(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(weight) if (1..=1000).contains(&weight) => Ok(weight),
        _ => Err("expected comma-separated whole numbers from 1 to 1000, such as 3,1".to_owned()),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 1000000, such as 40".to_owned()),
    }
}

/// Whether `key` can be in a header.
pub(super) fn is_header_token(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
}
