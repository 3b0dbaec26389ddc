//! The labels of what is counted of calls. Their number has a bound: texts of callers are no labels.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    sync::Arc,
};

use hashbrown::Equivalent;

use crate::telemetry::finished::{End, FinishedCall, ModelEnd};

/// The label for what has no label of its own: a model that is not in the catalogue, a code that is
/// not the gateway's.
pub(super) const OTHER: &str = "other";

/// The label for what a call does not have.
pub(super) const NONE: &str = "none";

/// The labels of a series. The texts without an owner come from closed lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) door: &'static str,
    pub(super) rpc: &'static str,
    /// The model that was asked for, and the one that answered.
    pub(super) asked: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) has_answer: bool,
    pub(super) end: End,
    pub(super) code: &'static str,
}

/// The same with borrowed texts.
#[derive(Clone, Copy)]
pub(super) struct KeyRef<'a> {
    pub(super) door: &'static str,
    pub(super) rpc: &'static str,
    pub(super) asked: &'a str,
    pub(super) model: &'a str,
    pub(super) has_answer: bool,
    pub(super) end: End,
    pub(super) code: &'static str,
}

impl<'a> KeyRef<'a> {
    /// The labels of a call, if there is room for its model.
    pub(super) fn of(call: &'a FinishedCall<'_>) -> Self {
        // Callers can name all models of the catalogue in calls that cost nothing.
        let model = call
            .model
            .filter(|model| model.attempts > 0 || model.waited_ms > 0);
        let label = |name: fn(&ModelEnd) -> &Arc<str>| match model.map(name) {
            None => NONE,
            Some(model) if model.is_empty() => OTHER,
            Some(model) => model,
        };
        let code = match call.error.map(|error| &error.code) {
            None => "",
            Some(Cow::Borrowed(code)) => *code,
            Some(Cow::Owned(_)) => OTHER,
        };
        Self {
            door: call.door,
            rpc: call.rpc.unwrap_or(NONE),
            asked: label(|model| &model.asked),
            model: label(|model| &model.model),
            has_answer: model.is_some_and(|model| model.has_answer),
            end: call.end,
            code,
        }
    }

    /// Whether one of the labels is the name of a model.
    pub(super) fn has_model(&self) -> bool {
        let is_name = |model: &str| !matches!(model, NONE | OTHER);
        is_name(self.asked) || is_name(self.model)
    }

    /// The same, for a model without a label of its own.
    pub(super) fn of_other_model(self) -> Self {
        let other = |model| if model == NONE { NONE } else { OTHER };
        Self {
            asked: other(self.asked),
            model: other(self.model),
            ..self
        }
    }
}

impl From<&KeyRef<'_>> for Key {
    fn from(key: &KeyRef<'_>) -> Self {
        Self {
            door: key.door,
            rpc: key.rpc,
            asked: key.asked.into(),
            model: key.model.into(),
            has_answer: key.has_answer,
            end: key.end,
            code: key.code,
        }
    }
}

impl Key {
    fn borrowed(&self) -> KeyRef<'_> {
        KeyRef {
            door: self.door,
            rpc: self.rpc,
            asked: &self.asked,
            model: &self.model,
            has_answer: self.has_answer,
            end: self.end,
            code: self.code,
        }
    }
}

/// Of the texts of the code, only the length: they come from closed lists, so few series have the
/// same hash.
impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.door.len(), self.rpc.len(), self.code.len()).hash(state);
        self.asked.hash(state);
        self.model.hash(state);
        self.end.hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.end == key.end
            && self.has_answer == key.has_answer
            && self.door == key.door
            && self.rpc == key.rpc
            && self.code == key.code
            && self.model == &*key.model
            && self.asked == &*key.asked
    }
}
