//! What upstream says when it refuses a request for want of units, in words alone.

/// What a refusal says of the account.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// The units in use.
    pub(super) active: Option<u32>,
    /// The units of the plan.
    pub(super) limit: Option<u32>,
}

/// The numbers in the upstream's words: `This user has 10 active units; … (limit: 10, over by 2)` or `plan limit: 10`.
pub(super) fn numbers(refusal: &str) -> Numbers {
    let after = |mark: &str| {
        let rest = refusal.split_once(mark)?.1.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    };
    let before = |mark: &str| {
        let rest = refusal.split_once(mark)?.0;
        rest.rsplit(' ').next()?.parse().ok()
    };
    Numbers { active: before(" active units"), limit: after("limit:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_refusal_are_found_in_its_words() {
        let long = "Per-user concurrency limit exceeded. This user has 10 active units; this request requires 2 units \
                    (limit: 12, over by 2). Model: a/b.";
        assert_eq!(numbers(long), Numbers { active: Some(10), limit: Some(12) });
        assert_eq!(numbers("Too many (plan limit: 4)"), Numbers { active: None, limit: Some(4) });
        for silent in ["", "full", "limit:", "limit: many", "some active units"] {
            assert_eq!(numbers(silent), Numbers::default(), "{silent:?}");
        }
    }
}
