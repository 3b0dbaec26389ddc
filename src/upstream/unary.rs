//! A unary answer: what a message must have to be one. A status of success is not enough: engines
//! put errors into successful replies, and front ends answer with nothing.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    error::{self, local::bad_answer},
    finish_reason::ChoiceEnd,
    identity::{self, Identity, IdentityFields},
};
use crate::{
    error::{Error, ErrorCode, Result},
    json,
};

/// A message that is the whole answer to a request.
pub trait UnaryMessage: DeserializeOwned + Send + 'static {
    /// Members whose presence makes an answer even when they are empty: a text may have no tokens.
    const MAY_BE_EMPTY: &'static [&'static str] = &[];

    /// The members that the message has no field for.
    fn extra(&self) -> &BTreeMap<String, String>;

    /// The same members, mutable.
    fn extra_mut(&mut self) -> &mut BTreeMap<String, String>;

    /// How each choice in it ended.
    fn choice_ends(&self) -> impl Iterator<Item = ChoiceEnd<'_>> {
        std::iter::empty()
    }

    /// Whether it has nothing of what was asked for. Then it is not an answer, whatever its status
    /// says.
    fn is_empty(&self) -> bool;

    /// The members that identify the answer, if this kind of answer has them.
    fn identity_fields(&mut self) -> Option<IdentityFields<'_>> {
        None
    }

    /// Sets whatever else the answer must have and the gateway knows.
    fn fill_in(&mut self) {}

    /// The indexes of its parts, if it has indexed parts.
    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        std::iter::empty()
    }
}

/// Decodes `body` as the answer of `model`.
///
/// # Errors
/// [`Kind::Upstream`](crate::error::Kind::Upstream) for a body that is not an answer. For an error
/// inside a successful reply, the kind that the error means.
pub(super) fn decode<M: UnaryMessage>(body: &[u8], model: Option<&str>) -> Result<M> {
    let mut answer: M = json::decode_answer(body)
        // The body may be a list with an error in it.
        .map_err(|problem| {
            error::from_event(body, model).unwrap_or_else(|| bad_answer(&problem))
        })?;
    let is_empty = answer.is_empty();
    if (is_empty || answer.extra().contains_key("error"))
        && let Some(error) = error::from_event(body, model)
    {
        return Err(error);
    }
    if let Some(error) = answer.choice_ends().find_map(|end| end.error(model)) {
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
    if let Some(fields) = answer.identity_fields() {
        Identity::default().fill_in(fields, model);
    }
    if identity::lack_indexes(answer.indexes()) {
        identity::set_indexes(answer.indexes(), body);
    }
    answer.fill_in();
    Ok(answer)
}

/// Whether the member `name` of `extra` has items: an object or a string inside. A list that came
/// in an unexpected form has no field, and stands in `extra`.
pub fn has_items(extra: &BTreeMap<String, String>, name: &str) -> bool {
    let Some(json) = extra.get(name) else {
        return false;
    };
    json.starts_with(['[', '{']) && json.bytes().skip(1).any(|byte| matches!(byte, b'{' | b'"'))
}

/// The members of an object as JSON text. `None` for null.
fn members(body: &[u8]) -> BTreeMap<String, Option<&RawValue>> {
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| json::peek(text).ok())
        .unwrap_or_default()
}
