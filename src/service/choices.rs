//! What all answers with choices have in common.

use std::collections::BTreeMap;

/// The methods of `UnaryMessage` and `StreamMessage` that are the same for all messages with
/// `choices`. `$prefix` begins an id that the gateway makes.
macro_rules! message_with_choices {
    ($prefix:literal) => {
        fn extra(&self) -> &std::collections::BTreeMap<String, String> {
            &self.extra
        }

        fn choice_ends(&self) -> impl Iterator<Item = $crate::upstream::ChoiceEnd<'_>> {
            self.choices
                .iter()
                .map(|choice| $crate::upstream::ChoiceEnd {
                    reason: choice.finish_reason.as_deref(),
                    extra: &choice.extra,
                })
        }

        fn identity_fields(&mut self) -> Option<$crate::upstream::IdentityFields<'_>> {
            Some($crate::upstream::IdentityFields {
                id: Some(($prefix, &mut self.id)),
                created: Some(&mut self.created),
                model: &mut self.model,
                extra: &mut self.extra,
            })
        }

        fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
            self.choices.iter_mut().map(|choice| &mut choice.index)
        }
    };
}

pub(super) use message_with_choices;

/// Whether JSON text is more than an empty value.
pub(super) fn is_something(json: &str) -> bool {
    const NOTHING: [&str; 5] = ["null", "\"\"", "[]", "{}", "false"];
    !NOTHING.contains(&json)
}

/// Whether members without a field have a value. It may be a part of the answer.
pub(super) fn have_content(extra: &BTreeMap<String, String>) -> bool {
    extra.values().any(|value| is_something(value))
}

/// Whether a choice says why it ended. Some engines send an empty reason with every chunk; that is
/// none, and so is zero. A reason that is not text is in `extra`.
pub fn has_ended(reason: Option<&str>, extra: &BTreeMap<String, String>) -> bool {
    let is_reason = |json: &String| is_something(json) && json != "0";
    match reason {
        Some(reason) => !reason.is_empty(),
        None => !extra.is_empty() && extra.get("finish_reason").is_some_and(is_reason),
    }
}
