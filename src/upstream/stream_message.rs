//! What a message must tell about itself to be read from a stream of events.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{finish_reason::ChoiceEnd, identity::IdentityFields};
use crate::json::SingleText;

/// A message that arrives as an event of a stream.
pub trait StreamMessage: DeserializeOwned + SingleText {
    /// The members that the message has no field for.
    fn extra(&self) -> &BTreeMap<String, String>;

    /// The index of each choice in this message, and whether this is its last message.
    fn choices(&self) -> impl Iterator<Item = (i32, bool)>;

    /// How each choice in this message ends, as far as it does.
    fn choice_ends(&self) -> impl Iterator<Item = ChoiceEnd<'_>>;

    /// The part of the answer in a message that reports a failure, without the report. `None` if
    /// there is nothing of the answer in it.
    fn without_failure(self) -> Option<Self>;

    /// Whether the message has a part of the answer in it, and not only the role.
    fn has_content(&self) -> bool;

    /// The members that identify the answer, if this kind of answer has them.
    fn identity_fields(&mut self) -> Option<IdentityFields<'_>> {
        None
    }

    /// The indexes of its parts, if it has indexed parts.
    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        std::iter::empty()
    }

    /// Sets whatever else the message must have and the gateway knows.
    fn fill_in(&mut self) {}
}
