//! What an upstream's 429 says: that the account has no concurrency units free, or that requests
//! come too fast.
//!
//! The two need different answers. Units come back as soon as any request of the account ends, and
//! the gateway's queue waits for them. A rate limit passes with time alone.

use std::time::Duration;

use super::{Error, ErrorCode};

/// When to try again if an upstream that is saturated doesn't say.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// Why upstream answered 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The account has too few concurrency units free for this request.
    Units(UnitRefusal),
    /// Requests come faster than upstream allows.
    Rate,
}

/// What a refusal for want of concurrency units says. Each member is absent if upstream is silent
/// about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitRefusal {
    /// The units in use.
    pub active: Option<u32>,
    /// The units that the refused request needs.
    pub required: Option<u32>,
    /// The units of the plan.
    pub limit: Option<u32>,
    /// The `Retry-After` of the reply.
    pub retry_after: Option<Duration>,
}

impl UnitRefusal {
    /// Reads the `code` and the message of a 429: `This user has 10 active units; this request
    /// requires 2 units (limit: 10, over by 2)` or `plan limit: 10`. None if they are about
    /// something else.
    ///
    /// The numbers of units tell it whatever the code is. The mere word counts only where no other
    /// code contradicts it.
    fn read(code: &str, message: &str) -> Option<Self> {
        const WORD: &str = "concurrency";
        let text = message.to_ascii_lowercase();
        let active = number_before(&text, " active unit");
        let required = numbers_after(&text, "requires ")
            .find(|(_, rest)| is_unit(rest))
            .map(|(number, _)| number);
        let limit = |mark| {
            numbers_after(&text, mark)
                .find(|(_, rest)| counts_units(rest))
                .map(|(number, _)| number)
        };
        let plan_limit = limit("plan limit:");
        let has_numbers = active.is_some() || required.is_some() || plan_limit.is_some();
        let is_named =
            code.to_ascii_lowercase().contains(WORD) || (code.is_empty() && text.contains(WORD));
        let limit = plan_limit.or_else(|| limit("limit:"));
        (has_numbers || is_named).then_some(Self {
            active,
            required,
            limit,
            retry_after: None,
        })
    }
}

/// The number that ends right before this mark.
fn number_before(text: &str, mark: &str) -> Option<u32> {
    let before = text.split_once(mark)?.0;
    before
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Each number that follows this mark, and the text behind the number.
fn numbers_after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = (u32, &'a str)> {
    text.match_indices(mark).filter_map(move |(start, _)| {
        let rest = text.get(start + mark.len()..)?.trim_start();
        let (digits, rest) = rest.split_at(
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len()),
        );
        Some((digits.parse().ok()?, rest))
    })
}

fn is_unit(rest: &str) -> bool {
    rest.trim_start().starts_with("unit")
}

/// Whether the number before this text can be one of units: `limit: 60 requests` and `limit:
/// 60/min` are not.
fn counts_units(rest: &str) -> bool {
    let names_nothing = rest
        .trim_start()
        .chars()
        .next()
        .is_none_or(|c| matches!(c, ',' | '.' | ';' | ')' | ']'));
    names_nothing || is_unit(rest) || rest.trim_start().starts_with("concurren")
}

/// The error that a 429 is. `message` is what upstream says; `words` is as much of it as is passed
/// on.
pub(super) fn refused(code: &str, message: &str, words: &str) -> Error {
    let Some(refusal) = UnitRefusal::read(code, message) else {
        return rate_limited().with_words(words);
    };
    let message = "All concurrency units of the Featherless account are taken: try again when a \
                   request has ended";
    let error = Error::new(ErrorCode::ConcurrencyLimitExceeded, message);
    let limit = refusal.limit.and_then(|limit| usize::try_from(limit).ok());
    let error = limit.into_iter().fold(error, Error::with_limit);
    error
        .with_words(words)
        .with_retry_after(RETRY_AFTER_DEFAULT)
        .with_throttle(Throttle::Units(refusal))
}

/// The error that a 429 is if it says nothing of units.
pub(super) fn rate_limited() -> Error {
    let message = "Featherless answers 429, too many requests: try again a little later";
    Error::new(ErrorCode::UpstreamRateLimited, message)
        .with_retry_after(RETRY_AFTER_DEFAULT)
        .with_throttle(Throttle::Rate)
}

impl Error {
    /// The same error, with what upstream says of it.
    fn with_words(mut self, words: &str) -> Self {
        self.0.message = format!("{}. Featherless says: {words}", self.0.message);
        self
    }

    /// The same error, of a request that upstream throttled.
    #[must_use]
    pub fn with_throttle(mut self, throttle: Throttle) -> Self {
        self.0.throttle = Some(throttle);
        self
    }

    /// The same error, worth another try after this time: upstream says so.
    #[must_use]
    pub(super) fn with_told_retry_after(mut self, wait: Duration) -> Self {
        if let Some(Throttle::Units(refusal)) = &mut self.0.throttle {
            refusal.retry_after = Some(wait);
        }
        self.with_retry_after(wait)
    }

    /// Why upstream throttled the request, if it did. The gateway's own queue never throttles: its
    /// refusals have none.
    pub fn throttle(&self) -> Option<Throttle> {
        self.0.throttle
    }

    /// What upstream says of the account's units, if it refused the request for want of them.
    pub fn unit_refusal(&self) -> Option<UnitRefusal> {
        match self.0.throttle {
            Some(Throttle::Units(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Kind, *};

    const UNITS_CODE: &str = ErrorCode::ConcurrencyLimitExceeded.as_str();

    /// Active, required, limit.
    fn numbers(code: &str, message: &str) -> Option<[Option<u32>; 3]> {
        UnitRefusal::read(code, message)
            .map(|refusal| [refusal.active, refusal.required, refusal.limit])
    }

    #[test]
    fn the_numbers_of_a_unit_refusal_are_found_whatever_its_code_is() {
        let long = "Per-user concurrency limit exceeded. This user has 10 active units; this \
                    request requires 2 units (limit: 12, over by 2). Model: a/b.";
        for code in [UNITS_CODE, "", "rate_limit_exceeded", "429"] {
            assert_eq!(
                numbers(code, long),
                Some([Some(10), Some(2), Some(12)]),
                "{code}"
            );
            assert_eq!(
                numbers(code, "Too many (plan limit: 4)"),
                Some([None, None, Some(4)]),
                "{code}"
            );
            assert_eq!(
                numbers(code, "Plan Limit: 8 units."),
                Some([None, None, Some(8)]),
                "{code}"
            );
            assert_eq!(
                numbers(code, "you have 1 active unit"),
                Some([Some(1), None, None]),
                "{code}"
            );
        }
    }

    #[test]
    fn a_unit_refusal_may_have_no_numbers() {
        for silent in [
            "",
            "full",
            "limit:",
            "limit: many",
            "some active units",
            "plan limit: 99999999999",
        ] {
            assert_eq!(numbers(UNITS_CODE, silent), Some([None; 3]), "{silent:?}");
        }
        assert_eq!(
            numbers("", "Your plan's concurrency is exceeded"),
            Some([None; 3])
        );
        assert_eq!(numbers("max_concurrency", "no"), Some([None; 3]));
    }

    #[test]
    fn every_other_429_is_a_rate_limit() {
        for (code, message) in [
            ("rate_limit_exceeded", "Too many requests"),
            (
                "rate_limit_exceeded",
                "Rate limit reached, limit: 60 requests per minute",
            ),
            (
                "rate_limit_exceeded",
                "The concurrency of your requests is too high",
            ),
            (
                "insufficient_quota",
                "You exceeded your current quota, please check your plan",
            ),
            ("", "plan limit: 60 requests per minute"),
            ("", "plan limit: 60/min"),
            ("", "requires 2 minutes"),
            ("", "full"),
            ("", ""),
        ] {
            assert_eq!(numbers(code, message), None, "{code:?} {message:?}");
            let error = refused(code, message, message);
            assert_eq!(
                (error.kind(), error.code()),
                (Kind::Saturated, "upstream_rate_limited")
            );
            assert_eq!(
                (error.throttle(), error.unit_refusal()),
                (Some(Throttle::Rate), None)
            );
            assert!(error.message().ends_with(message), "{error}");
        }
    }

    #[test]
    fn only_what_upstream_tells_counts_as_told() {
        let error = refused(UNITS_CODE, "full", "full");
        assert_eq!(
            error.retry_after(),
            Some(RETRY_AFTER_DEFAULT),
            "callers have advice in any case"
        );
        assert_eq!(error.unit_refusal().unwrap().retry_after, None);
        let told = Duration::from_secs(7);
        let error = error.with_told_retry_after(told);
        assert_eq!(
            (
                error.retry_after(),
                error.unit_refusal().unwrap().retry_after
            ),
            (Some(told), Some(told))
        );
    }
}
