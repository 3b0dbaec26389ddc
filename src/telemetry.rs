//! The log, and the id of each call in it.

use std::{io::IsTerminal, str::FromStr};

use axum::{extract::Request, response::Response};
use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;
use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The header, and gRPC metadata key, of a call's id, which the caller or the gateway chooses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a caller may choose, in bytes. The gateway replaces a longer one.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Which lines are logged.
#[derive(Clone, Debug)]
pub struct Filter(Targets);

impl Filter {
    /// Nothing is logged.
    pub fn off() -> Self {
        Self(Targets::new())
    }

    /// The gateway's lines of this `level`, and the warnings of libraries. Other lines of a library
    /// need a filter that names it.
    pub fn of_level(level: LevelFilter) -> Self {
        Self(
            Targets::new()
                .with_default(level.min(LevelFilter::WARN))
                .with_target("featherwire", level),
        )
    }
}

impl FromStr for Filter {
    type Err = String;

    /// Parses a level, or comma-separated parts such as `warn` and `hyper=debug`.
    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
            name @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => {
                name.parse::<LevelFilter>().ok()
            }
            _ => None,
        };
        if let Some(level) = level(text) {
            return Ok(Self::of_level(level));
        }
        let mut targets = Targets::new();
        for part in text.split(',') {
            targets = match part.split_once('=') {
                None => level(part).map(|level| targets.with_default(level)),
                Some((target, of)) if is_target(target.trim()) => {
                    level(of).map(|level| targets.with_target(target.trim(), level))
                }
                Some(_) => None,
            }
            .ok_or(
                "expected off, error, warn, info, debug or trace; or levels by library, such as \
                 warn,hyper=debug",
            )?;
        }
        Ok(Self(targets))
    }
}

/// Whether `target` can be the path of a module.
fn is_target(target: &str) -> bool {
    !target.is_empty()
        && target
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// Starts logging to standard error.
pub fn start(filter: Filter) {
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // Standard error may be a pipe without a reader. The gateway continues then.
        .log_internal_errors(false);
    // A second call, as in tests, changes nothing.
    let _ = tracing_subscriber::registry()
        .with(format)
        .with(filter.0)
        .try_init();
}

/// What is logged of one call at the level `debug`, and its id. Requests, answers, query strings
/// and keys are not logged.
pub struct Observation {
    id: HeaderValue,
    /// The method, the path and the start. `None` if the level is off.
    line: Option<(Method, String, Instant)>,
}

impl Observation {
    /// Gives the call of `request` an id, if its caller has not chosen one.
    pub fn start(request: &mut Request) -> Self {
        let id = match request.headers().get(REQUEST_ID) {
            Some(id) if is_id(id) => id.clone(),
            _ => new_id(),
        };
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let line = tracing::enabled!(Level::DEBUG).then(|| {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            (method, path, Instant::now())
        });
        Self { id, line }
    }

    /// Tells the caller the id, and logs the line.
    pub fn end(self, response: &mut Response) {
        if let Some((method, path, started_at)) = self.line {
            let (status, elapsed) = (response.status().as_u16(), started_at.elapsed());
            let id = self.id.to_str().unwrap_or_default();
            tracing::debug!(id, %method, path, status, ?elapsed, "answered");
        }
        response.headers_mut().insert(REQUEST_ID, self.id);
    }
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// 32 random hexadecimal digits. Each call has an id, and `format!` takes several times as long.
fn new_id() -> HeaderValue {
    let mut bits = fastrand::u128(..);
    let id: [u8; 32] = std::array::from_fn(|_| {
        let digit = (bits & 0xf) as u8;
        bits >>= 4;
        if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        }
    });
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_told_which_ones_there_are() {
        for text in [
            "foo",
            "",
            "infos",
            "warn,foo",
            "hyper=loud",
            "=debug",
            "my lib=debug",
            "warn,,info",
            "1",
        ] {
            let told = text.parse::<Filter>().unwrap_err();
            assert!(
                told.contains("debug") && told.contains("such as"),
                "{text}: {told}"
            );
        }
        for text in [
            "info",
            "DEBUG",
            "off",
            "warn,featherwire=debug",
            "hyper_util::client=trace, info",
        ] {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
    }
}
