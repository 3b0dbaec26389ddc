//! What a 429 of Featherless says: that the account has no concurrency units free, or that requests
//! arrive too fast.

use std::time::Duration;

use crate::error::{Error, ErrorCode, Throttle, UnitRefusal};

/// When to try again if Featherless does not say.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// The error that a 429 is. `message` is everything that Featherless says, `quote` the part that
/// the caller sees.
pub(super) fn throttled(code: &str, message: &str, quote: &str) -> Error {
    let Some(refusal) = read_unit_refusal(code, message) else {
        return rate_limited().with_quote(quote);
    };
    let message = "All concurrency units of the Featherless account are in use: try again when a \
                   request has ended";
    let error = Error::new(ErrorCode::ConcurrencyLimitExceeded, message);
    let limit = refusal.limit.and_then(|limit| usize::try_from(limit).ok());
    let error = limit.into_iter().fold(error, Error::with_limit);
    error
        .with_quote(quote)
        .with_retry_after(RETRY_AFTER_DEFAULT)
        .with_throttle(Throttle::Units(refusal))
}

/// The error that a 429 is if it says nothing about units.
pub(super) fn rate_limited() -> Error {
    let message = "Featherless answers 429, too many requests: try again a little later";
    Error::new(ErrorCode::UpstreamRateLimited, message)
        .with_retry_after(RETRY_AFTER_DEFAULT)
        .with_throttle(Throttle::Rate)
}

/// Reads the `code` and the `message` of a 429: `This user has 10 active units; this request
/// requires 2 units (limit: 10, over by 2)` or `plan limit: 10`. `None` if they are not about
/// units.
///
/// Numbers of units decide, whatever the code is. The word "concurrency" alone decides only if no
/// other code contradicts it.
fn read_unit_refusal(code: &str, message: &str) -> Option<UnitRefusal> {
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
    (has_numbers || is_named).then_some(UnitRefusal {
        active,
        required,
        limit,
        retry_after: None,
    })
}

/// The number directly before `mark`.
fn number_before(text: &str, mark: &str) -> Option<u32> {
    let before = text.split_once(mark)?.0;
    before
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Each number that follows `mark`, and the text after the number.
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

/// Whether the number before `rest` can be a number of units: `limit: 60 requests` and `limit:
/// 60/min` are not.
fn counts_units(rest: &str) -> bool {
    let names_nothing = rest
        .trim_start()
        .chars()
        .next()
        .is_none_or(|c| matches!(c, ',' | '.' | ';' | ')' | ']'));
    names_nothing || is_unit(rest) || rest.trim_start().starts_with("concurren")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const UNITS_CODE: &str = ErrorCode::ConcurrencyLimitExceeded.as_str();

    /// Active, required, limit.
    fn numbers(code: &str, message: &str) -> Option<[Option<u32>; 3]> {
        read_unit_refusal(code, message)
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
            let error = throttled(code, message, message);
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
        let error = throttled(UNITS_CODE, "full", "full");
        assert_eq!(
            error.retry_after(),
            Some(RETRY_AFTER_DEFAULT),
            "callers have advice in any case"
        );
        assert_eq!(error.unit_refusal().unwrap().retry_after, None);
        let told = Duration::from_secs(7);
        let error = error.with_upstream_retry_after(told);
        assert_eq!(
            (
                error.retry_after(),
                error.unit_refusal().unwrap().retry_after
            ),
            (Some(told), Some(told))
        );
    }
}
