//! A text that comes in pieces, and JSON values that are joined.
//!
//! Half of a character, which the codec leaves in `extra` as JSON text, is joined to its other
//! half.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    json::{self, SurrogateJoiner},
    proto::bounds::entry,
};

type Extra = BTreeMap<String, String>;

/// A member that holds text. What comes in another form is kept only while there is no text.
#[derive(Debug, Default)]
pub(super) struct TextMember {
    text: Option<SurrogateJoiner>,
    other: Option<Value>,
}

impl TextMember {
    /// Adds a piece: `text` from the field, or the member `name` that the codec left in `extra`.
    pub(super) fn add(&mut self, text: Option<String>, name: &str, extra: &mut Extra) {
        match (text, &mut self.text) {
            // Most members of most chunks come in one piece, or in none.
            (Some(text), None) => self.text = Some(SurrogateJoiner::from(text)),
            (Some(text), Some(known)) => known.push(&text),
            (None, _) => {}
        }
        let Some(json) = extra.remove(name).filter(|json| json != "null") else {
            return;
        };
        if json.starts_with('"') {
            self.text.get_or_insert_default().push_json(&json);
        } else {
            Value::add(&mut self.other, json, Place::Delta);
        }
    }

    /// The text that has been joined so far, without a half of a character at its end.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_ref().map(|joined| joined.text())
    }

    /// Takes the text that has been joined so far, if there is any.
    pub(super) fn take(&mut self) -> Option<String> {
        self.text
            .take()
            .map(SurrogateJoiner::finish)
            .filter(|text| !text.is_empty())
    }

    /// The text. Without one, what came in another form goes to `extra`.
    pub(super) fn finish(self, name: &str, extra: &mut Extra) -> Option<String> {
        if self.text.as_ref().is_none_or(SurrogateJoiner::is_empty)
            && let Some(other) = self.other
        {
            extra.insert(name.to_owned(), other.finish());
            return None;
        }
        self.text.map(SurrogateJoiner::finish)
    }
}

/// Where a value stands, which tells what it means when it comes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// In a delta, or in a part of one: the next piece.
    Delta,
    /// In a choice, or in its log probabilities: lists are the next pieces, a text is the whole.
    Choice,
    /// In the chunk itself. A list that is the same in every chunk is the whole.
    Chunk,
}

/// A JSON value that the contract has no field for, as far as it has come.
#[derive(Debug)]
pub(super) struct Value {
    /// The first one that counts, as JSON text. Where nothing is joined it is also the last one.
    first: String,
    /// Whether all others were the same.
    is_repeated: bool,
    sum: Sum,
}

#[derive(Debug)]
enum Sum {
    Text(SurrogateJoiner),
    /// The elements with commas between.
    List(String),
    /// What isn't joined: the last one counts.
    Last,
}

impl Value {
    /// Adds `json` to what is known of a member.
    pub(super) fn add(known: &mut Option<Self>, json: String, place: Place) {
        match known {
            Some(value) => value.join(json, place),
            None => *known = Some(Self::new(json, place)),
        }
    }

    fn new(json: String, place: Place) -> Self {
        let sum = match json.as_bytes() {
            [b'"', ..] if place == Place::Delta => {
                let mut text = SurrogateJoiner::default();
                text.push_json(&json);
                Sum::Text(text)
            }
            [b'[', ..] => Sum::List(elements(&json).to_owned()),
            _ => Sum::Last,
        };
        Self {
            first: json,
            is_repeated: true,
            sum,
        }
    }

    fn join(&mut self, json: String, place: Place) {
        if json == "null" {
            return;
        }
        let is_same = json == self.first;
        match (&mut self.sum, json.as_bytes()) {
            (Sum::Text(text), [b'"', ..]) => {
                text.push_json(&json);
            }
            (Sum::List(list), [b'[', ..]) => {
                let more = elements(&json);
                if !list.is_empty() && !more.is_empty() {
                    list.push(',');
                }
                list.push_str(more);
            }
            (Sum::Text(text), _) if !text.is_empty() => return,
            (Sum::List(list), _) if !list.is_empty() => return,
            _ => {
                *self = Self::new(json, place);
                return;
            }
        }
        // The same list in every delta is still a list of pieces.
        self.is_repeated &= is_same && (place == Place::Chunk || matches!(self.sum, Sum::Text(_)));
    }

    fn finish(self) -> String {
        match self.sum {
            _ if self.is_repeated => self.first,
            // A string is always valid JSON.
            Sum::Text(text) => serde_json::to_string(&text.finish()).unwrap_or(self.first),
            Sum::List(list) => format!("[{list}]"),
            Sum::Last => self.first,
        }
    }
}

/// What is between the brackets of a JSON list.
fn elements(list: &str) -> &str {
    list.strip_prefix('[')
        .and_then(|list| list.strip_suffix(']'))
        .unwrap_or_default()
        .trim_ascii()
}

/// The members of an object that the contract has no fields for.
#[derive(Debug, Default)]
pub(super) struct Unknown(BTreeMap<String, Option<Value>>);

/// Members of these names are the same in every piece, wherever they are.
const WHOLE: [&str; 3] = ["id", "index", "type"];

impl Unknown {
    pub(super) fn add(&mut self, extra: Extra, place: Place) {
        for (name, json) in extra {
            let place = if place == Place::Delta && WHOLE.contains(&name.as_str()) {
                Place::Choice
            } else {
                place
            };
            Value::add(self.0.entry(name).or_default(), json, place);
        }
    }

    /// What the members take, in bytes, besides their texts.
    pub(super) fn structure_bytes(&self) -> usize {
        self.0.len().saturating_mul(entry::<Option<Value>>().next)
    }

    pub(super) fn finish(self) -> Extra {
        self.0
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.finish())))
            .collect()
    }
}

/// Removes a member that `field` has a value for: in JSON the member in `extra` would win.
pub(super) fn prefer<T>(field: Option<&T>, name: &str, extra: &mut Extra) {
    if field.is_some() {
        extra.remove(name);
    }
}

/// A list of messages that came in another form than a list of objects: its elements that can be
/// read. None for a list of more than `MAX` elements.
pub(super) fn readable<T: DeserializeOwned, const MAX: usize>(json: &str) -> Option<Vec<T>> {
    let elements = if json.starts_with('[') {
        json::peek::<json::RawList<'_, MAX>>(json).ok()?.0
    } else {
        serde_json::from_str::<&RawValue>(json)
            .into_iter()
            .collect()
    };
    Some(
        elements
            .into_iter()
            .filter_map(|json| json::decode_answer(json.get().as_bytes()).ok())
            .collect(),
    )
}
