//! Text that arrives in pieces, and JSON values that are joined.
//!
//! The codec leaves half of a character in `extra` as JSON text. It is joined with its other half
//! here.

use std::collections::BTreeMap;

use crate::{json::SurrogateJoiner, proto::bounds::entry};

type Extra = BTreeMap<String, String>;

/// A text member. A value in another form is kept only while there is no text.
#[derive(Debug, Default)]
pub(super) struct TextMember {
    text: Option<SurrogateJoiner>,
    other: Option<JsonValue>,
}

impl TextMember {
    /// Adds a piece: `text` from the field, or the member `name` that the codec left in `extra`.
    pub(super) fn add(&mut self, text: Option<String>, name: &str, extra: &mut Extra) {
        match (text, &mut self.text) {
            // Most members come in one piece, or not at all.
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
            JsonValue::add(&mut self.other, json, Location::Delta);
        }
    }

    /// The text so far, without half a character at its end.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_ref().map(|joined| joined.text())
    }

    /// Takes the text so far, if there is any.
    pub(super) fn take(&mut self) -> Option<String> {
        self.text
            .take()
            .map(SurrogateJoiner::finish)
            .filter(|text| !text.is_empty())
    }

    /// The text. If there is none, a value in another form goes to `extra`.
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

/// Where a value is, which decides what a second value means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Location {
    /// In a delta or in a part of one: the next piece.
    Delta,
    /// In a choice or in its log probabilities: a list is the next piece, a text is complete.
    Choice,
    /// In the chunk itself: a list that is the same in each chunk is complete.
    Chunk,
}

/// A JSON value that the contract has no field for.
#[derive(Debug)]
pub(super) struct JsonValue {
    /// The first value that counts, as JSON text. If values are not joined, it is also the last
    /// one.
    first: String,
    /// Whether all values were the same.
    is_repeated: bool,
    sum: Sum,
}

#[derive(Debug)]
enum Sum {
    Text(SurrogateJoiner),
    /// The elements, separated by commas.
    List(String),
    /// A value that is not joined: the last one counts.
    Last,
}

impl JsonValue {
    /// Adds `json` to the known value of a member.
    pub(super) fn add(known: &mut Option<Self>, json: String, place: Location) {
        match known {
            Some(value) => value.join(json, place),
            None => *known = Some(Self::new(json, place)),
        }
    }

    fn new(json: String, place: Location) -> Self {
        let sum = match json.as_bytes() {
            [b'"', ..] if place == Location::Delta => {
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

    fn join(&mut self, json: String, place: Location) {
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
        // A list that is the same in each delta is still a list of pieces.
        self.is_repeated &=
            is_same && (place == Location::Chunk || matches!(self.sum, Sum::Text(_)));
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

/// The text between the brackets of a JSON list.
fn elements(list: &str) -> &str {
    list.strip_prefix('[')
        .and_then(|list| list.strip_suffix(']'))
        .unwrap_or_default()
        .trim_ascii()
}

/// The members of an object that the contract has no fields for.
#[derive(Debug, Default)]
pub(super) struct UnknownMembers(BTreeMap<String, Option<JsonValue>>);

/// Members with these names are the same in each piece, wherever they are.
const WHOLE: [&str; 3] = ["id", "index", "type"];

impl UnknownMembers {
    pub(super) fn add(&mut self, extra: Extra, place: Location) {
        for (name, json) in extra {
            let place = if place == Location::Delta && WHOLE.contains(&name.as_str()) {
                Location::Choice
            } else {
                place
            };
            JsonValue::add(self.0.entry(name).or_default(), json, place);
        }
    }

    /// What the members take in memory besides their texts, in bytes.
    pub(super) fn structure_bytes(&self) -> usize {
        self.0
            .len()
            .saturating_mul(entry::<Option<JsonValue>>().next)
    }

    pub(super) fn finish(self) -> Extra {
        self.0
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.finish())))
            .collect()
    }
}
