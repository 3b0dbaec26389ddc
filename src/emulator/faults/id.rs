//! Parses the id of a fault: `emulator/NAME` and optional suffixes.
//! - `-after-5`: after 5 tokens; `-after-5s`: nothing is sent for 5 s;
//! - `-for-5s`: the length of a silence, after which the answer continues;
//! - `-retry-after-5`: with the header `Retry-After: 5`;
//! - `-then-ok`: the first attempt fails; `-x3-then-ok`: the first three attempts fail.

use std::time::Duration;

use super::super::reasoning::ReasoningFormat;
use super::{error_bodies::Shape, kind::FaultKind, list::FAULTS};

const PREFIX: &str = "emulator/";
const TOKENS_MAX: usize = 100_000;
const FAILURES_MAX: u32 = 1_000;
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The length limit of a `finish_reason` in an id.
const FINISH_REASON_BYTES_MAX: usize = 40;

/// A fault, as the id of a model describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultId {
    pub kind: FaultKind,
    /// The `finish_reason` in the id. Empty for faults of other kinds.
    pub finish_reason: String,
    /// The number of tokens before the fault. `None` means the default of the kind.
    pub tokens: Option<usize>,
    /// The length of a silence. `None` means without end.
    pub silence: Option<Duration>,
    /// The time before anything is sent.
    pub delay: Duration,
    pub retry_after_s: Option<u32>,
    /// The number of attempts that fail before one succeeds. `None` means every attempt fails.
    pub failures: Option<u32>,
}

impl FaultId {
    pub fn read(model: &str) -> Option<Self> {
        let (name, suffixes) = Suffixes::split(model.strip_prefix(PREFIX)?);
        let (kind, finish_reason) = kind(name)?;
        Some(Self {
            kind,
            finish_reason: finish_reason.to_owned(),
            tokens: suffixes.tokens,
            silence: suffixes.silence,
            delay: suffixes.delay.unwrap_or_default(),
            retry_after_s: suffixes.retry_after_s,
            failures: suffixes.failures,
        })
    }

    /// The format of the reasoning, if this model reasons without being asked to.
    pub fn reasoning_format(&self) -> Option<ReasoningFormat> {
        match self.kind {
            FaultKind::Reason(format) => Some(format),
            _ => None,
        }
    }
}

fn kind(name: &str) -> Option<(FaultKind, &str)> {
    if let Some(found) = finish(name) {
        return Some(found);
    }
    let has_name = |model: &str| {
        model
            .strip_prefix(PREFIX)
            .is_some_and(|listed| Suffixes::split(listed).0 == name)
    };
    let listed = FAULTS
        .iter()
        .find(|fault| has_name(fault.model))
        .map(|fault| fault.kind);
    listed.or_else(|| status(name)).map(|kind| (kind, ""))
}

/// `finish-WORD`, and `finish-WORD-with-error`.
fn finish(name: &str) -> Option<(FaultKind, &str)> {
    let named = name.strip_prefix("finish-")?;
    let (kind, word) = match named.strip_suffix("-with-error") {
        Some(word) => (FaultKind::FinishWithError, word),
        None => (FaultKind::Finish, named),
    };
    let is_word = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (is_word && (1..=FINISH_REASON_BYTES_MAX).contains(&word.len())).then_some((kind, word))
}

/// `STATUS`, and `STATUS-SHAPE`.
fn status(name: &str) -> Option<FaultKind> {
    let (status, shape) = match name.split_once('-') {
        Some((status, shape)) => (status, Shape::named(shape)?),
        None => (name, Shape::OpenAi),
    };
    let status = status
        .parse()
        .ok()
        .filter(|status| (400..=599).contains(status))?;
    Some(FaultKind::Status(status, shape))
}

/// The suffixes of an id.
#[derive(Default)]
struct Suffixes {
    tokens: Option<usize>,
    silence: Option<Duration>,
    delay: Option<Duration>,
    retry_after_s: Option<u32>,
    failures: Option<u32>,
}

impl Suffixes {
    /// Splits an id into the name and its suffixes. A suffix that cannot be parsed stays part of
    /// the name, which then matches no fault.
    fn split(mut name: &str) -> (&str, Self) {
        let mut suffixes = Self::default();
        while let Some(rest) = suffixes.take(name) {
            name = rest;
        }
        (name, suffixes)
    }

    /// Parses the last suffix and returns the text before it. `None` if there is no valid suffix,
    /// or if the suffix is a repeated one.
    fn take<'a>(&mut self, name: &'a str) -> Option<&'a str> {
        if let Some(rest) = name.strip_suffix("-then-ok") {
            let times = rest
                .rsplit_once("-x")
                .and_then(|(rest, times)| Some((rest, bounded(times, FAILURES_MAX)?)));
            let (rest, times) = times.unwrap_or((rest, 1));
            return set(&mut self.failures, times).then_some(rest);
        }
        if let Some((rest, seconds)) = name.rsplit_once("-retry-after-")
            && let Some(seconds) = bounded(seconds, u32::MAX)
        {
            return set(&mut self.retry_after_s, seconds).then_some(rest);
        }
        if let Some((rest, length)) = name.rsplit_once("-for-")
            && let Some(length) = time(length)
        {
            return set(&mut self.silence, length).then_some(rest);
        }
        let (rest, after) = name.rsplit_once("-after-")?;
        let is_set = match time(after) {
            Some(delay) => set(&mut self.delay, delay),
            None => set(&mut self.tokens, bounded(after, TOKENS_MAX)?),
        };
        is_set.then_some(rest)
    }
}

/// Sets `slot` and returns whether it was empty.
fn set<T>(slot: &mut Option<T>, value: T) -> bool {
    let is_free = slot.is_none();
    *slot = Some(value);
    is_free
}

fn bounded<T: std::str::FromStr + PartialOrd>(digits: &str, max: T) -> Option<T> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|number| is_plain && *number <= max)
}

/// A time with its unit: `500ms`, `5s` or `5m`.
fn time(text: &str) -> Option<Duration> {
    let unit_ms = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let (digits, unit_ms) = unit_ms
        .iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms)))?;
    let count: u64 = bounded(digits, u64::MAX)?;
    let time = Duration::from_millis(count.checked_mul(unit_ms)?);
    (time <= WAIT_MAX).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::faults::breaks::Break;

    fn read(name: &str) -> Option<FaultId> {
        FaultId::read(&format!("emulator/{name}"))
    }

    #[test]
    fn every_listed_id_means_what_the_list_says() {
        for fault in FAULTS {
            assert_eq!(
                FaultId::read(fault.model).map(|id| id.kind),
                Some(fault.kind),
                "{}",
                fault.model
            );
        }
    }

    #[test]
    fn additions_are_read_in_any_order() {
        let id = read("503-html-retry-after-7-after-90s-x3-then-ok").unwrap();
        assert_eq!(id.kind, FaultKind::Status(503, Shape::Html));
        assert_eq!(
            (id.retry_after_s, id.delay, id.failures),
            (Some(7), Duration::from_secs(90), Some(3))
        );
        assert_eq!(
            read("503-html-x3-then-ok-after-90s-retry-after-7"),
            Some(id)
        );
        let stall = read("stall-after-0-for-500ms-then-ok").unwrap();
        assert_eq!(stall.kind, FaultKind::Break(Break::Stall, 5));
        let numbers = (stall.tokens, stall.silence, stall.failures);
        assert_eq!(
            numbers,
            (Some(0), Some(Duration::from_millis(500)), Some(1))
        );
    }

    #[test]
    fn a_finish_reason_is_any_word() {
        let finish = |name| read(name).map(|id| (id.kind, id.finish_reason));
        assert_eq!(
            finish("finish-eos_token"),
            Some((FaultKind::Finish, "eos_token".to_owned()))
        );
        assert_eq!(
            finish("finish-abort-with-error"),
            Some((FaultKind::FinishWithError, "abort".to_owned()))
        );
        assert_eq!(finish("finish-"), None);
        assert_eq!(finish("finish-\"x\""), None);
    }

    #[test]
    fn what_is_no_fault_is_no_model() {
        for name in [
            "",
            "nothing",
            "399",
            "600",
            "400-poem",
            "cut-after-",
            "cut-after-x",
            "503-then-ok-then-ok",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
        assert_eq!(read("524-html-after-99999h"), None);
        assert_eq!(read("stall-after-5-after-5"), None);
        assert_eq!(FaultId::read("other/503"), None);
    }
}
