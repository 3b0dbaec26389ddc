//! The time of the clock, as the database has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time in Unix milliseconds.
pub type UnixMs = i64;

/// Now.
pub fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    milliseconds(since)
}

/// The length of `time` in milliseconds.
pub fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// `at` as a time of the system.
pub fn system_time(at: UnixMs) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default())
}
