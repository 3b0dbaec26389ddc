//! A whole answer: what it takes to be one. Its status says success, which alone is no answer:
//! engines put errors into successes, and front ends answer with nothing.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    failures::bad_answer,
    finish::End,
    identity::{self, Identity, Named},
};
use crate::{
    error::{Error, ErrorCode, Result},
    json,
};

/// A message that is the whole answer to a request.
pub trait Whole: DeserializeOwned + Send + 'static {
    /// Members that are an answer even when they are empty, if they are there: a text may have no
    /// tokens.
    const MAY_BE_EMPTY: &'static [&'static str] = &[];

    /// The members that the message has no field for.
    fn extra(&self) -> &BTreeMap<String, String>;

    /// The same, to be changed.
    fn extra_mut(&mut self) -> &mut BTreeMap<String, String>;

    /// How each choice in it ended.
    fn ends(&self) -> impl Iterator<Item = End<'_>> {
        std::iter::empty()
    }

    /// Whether it has nothing of what was asked for: then it is no answer, whatever its status
    /// says.
    fn is_empty(&self) -> bool;

    /// The members that name the answer, if it is of a kind that has them.
    fn named(&mut self) -> Option<Named<'_>> {
        None
    }

    /// Puts in what else the answer must have, and is known of it.
    fn complete(&mut self) {}

    /// The indexes of what is in it, if that has some.
    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        std::iter::empty()
    }
}

/// Reads a whole answer of this model's.
///
/// # Errors
/// Upstream for what isn't an answer; for an error that calls itself a success, what it says.
pub(super) fn read<M: Whole>(body: &[u8], model: Option<&str>) -> Result<M> {
    let mut answer: M = json::decode_answer(body)
        // A list, perhaps, with an error in it.
        .map_err(|problem| {
            Error::from_event(body, model).unwrap_or_else(|| bad_answer(&problem))
        })?;
    let is_empty = answer.is_empty();
    if (is_empty || answer.extra().contains_key("error"))
        && let Some(error) = Error::from_event(body, model)
    {
        return Err(error);
    }
    if let Some(error) = answer.ends().find_map(|end| end.error(model)) {
        return Err(error);
    }
    if is_empty
        && !M::MAY_BE_EMPTY
            .iter()
            .any(|name| matches!(members(body).get(*name), Some(Some(_))))
    {
        let message = "Featherless answered with success, but without an answer: try again";
        return Err(Error::new(ErrorCode::UpstreamBadAnswer, message));
    }
    if let Some(named) = answer.named() {
        Identity::default().complete(named, model);
    }
    if identity::are_unplaced(answer.indexes()) {
        identity::place(answer.indexes(), body);
    }
    answer.complete();
    Ok(answer)
}

/// Whether a list that came in another form than expected, and so has no field, has anything in it:
/// an object or a text.
pub fn has_items(extra: &BTreeMap<String, String>, name: &str) -> bool {
    let Some(json) = extra.get(name) else {
        return false;
    };
    json.starts_with(['[', '{']) && json.bytes().skip(1).any(|byte| matches!(byte, b'{' | b'"'))
}

/// The members of an object, unread; none for null.
fn members(body: &[u8]) -> BTreeMap<String, Option<&RawValue>> {
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| json::peek(text).ok())
        .unwrap_or_default()
}
