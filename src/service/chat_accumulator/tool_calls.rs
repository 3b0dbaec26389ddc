//! Tool calls: which deltas belong to which call.
//!
//! - A known id continues its call, whatever the index is. A new id starts a call, unless the call
//!   that it would continue had no id yet.
//! - An index without an id continues the latest call with that index. There are two exceptions,
//!   which start a call: a delta that names another function after the arguments have started; and
//!   a delta that names a function and starts a JSON object after the arguments were a complete
//!   one. A delta with arguments only, and an index that no call has, continues the latest call:
//!   some engines count the deltas.
//! - A delta without an id and an index continues the latest call, unless it names a function after
//!   the arguments have started.
//!
//! The latest call is the one that had the last delta.

use std::collections::{BTreeMap, HashMap};

use serde::de::IgnoredAny;

use super::{
    members::remove_if_set,
    text::{Location, TextMember, UnknownMembers},
};
use crate::proto::v1::{CustomToolCall, FunctionCall, ToolCall};

#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<Call>,
    by_id: HashMap<String, usize>,
    /// The latest call of each index.
    by_index: HashMap<i64, usize>,
    latest: Option<usize>,
}

impl ToolCalls {
    pub(super) fn add(&mut self, mut piece: ToolCall) {
        let id = id(&piece);
        let index = index(&piece);
        piece.extra.remove("index");
        let place = self.place(&piece, id.as_deref(), index).unwrap_or_else(|| {
            self.calls.push(Call {
                index,
                ..Call::default()
            });
            self.calls.len() - 1
        });
        self.latest = Some(place);
        if let Some(index) = index {
            self.by_index.insert(index, place);
        }
        let Some(call) = self.calls.get_mut(place) else {
            return;
        };
        if let Some(id) = id {
            call.has_id = true;
            self.by_id.insert(id, place);
        }
        call.add(piece);
    }

    /// The call that `piece` continues; `None` if it starts one.
    fn place(&self, piece: &ToolCall, id: Option<&str>, index: Option<i64>) -> Option<usize> {
        if let Some(&known) = id.and_then(|id| self.by_id.get(id)) {
            return Some(known);
        }
        let of_index = index.and_then(|index| self.by_index.get(&index)).copied();
        let has_name = name(piece).is_some();
        let place = match (index, of_index) {
            (Some(_), Some(place)) => place,
            (Some(_), None) if id.is_some() || has_name || !has_arguments(piece) => return None,
            _ => self.latest?,
        };
        let call = self.calls.get(place)?;
        let begins_another = match (id, of_index) {
            (Some(_), Some(_)) => {
                call.has_id || call.names_another(piece) || call.has_arguments() && has_name
            }
            (Some(_), None) => call.has_id || has_name,
            (None, Some(_)) => {
                call.has_arguments() && call.names_another(piece)
                    || has_name && begins_an_object(piece) && call.has_whole_arguments()
            }
            (None, None) => call.has_arguments() && has_name && call.name().is_some(),
        };
        (!begins_another).then_some(place)
    }

    /// What the calls take in memory besides their texts, in bytes.
    pub(super) fn structure_bytes(&self) -> usize {
        self.calls.len().saturating_mul(size_of::<Call>())
    }

    /// The calls, in the order of their indexes if each has its own, else in the order of
    /// appearance.
    pub(super) fn finish(mut self) -> Vec<ToolCall> {
        let mut indexes: Vec<_> = self.calls.iter().filter_map(|call| call.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        if indexes.len() == self.calls.len() {
            self.calls.sort_by_key(|call| call.index);
        }
        self.calls.into_iter().map(Call::finish).collect()
    }
}

/// The id of a call. An empty id counts as none; an id that is not text counts as its JSON text.
fn id(piece: &ToolCall) -> Option<String> {
    let odd = || {
        piece
            .extra
            .get("id")
            .filter(|json| !["null", "\"\""].contains(&json.as_str()))
    };
    piece
        .id
        .as_ref()
        .filter(|id| !id.is_empty())
        .or_else(odd)
        .cloned()
}

/// The index, also if it is written as text.
fn index(piece: &ToolCall) -> Option<i64> {
    let odd = || {
        piece
            .extra
            .get("index")
            .and_then(|json| json.trim_matches('"').parse().ok())
    };
    piece.index.map(i64::from).or_else(odd)
}

fn name(piece: &ToolCall) -> Option<&str> {
    let function = piece
        .function
        .as_ref()
        .and_then(|function| function.name.as_deref());
    let custom = || {
        piece
            .custom
            .as_ref()
            .and_then(|custom| custom.name.as_deref())
    };
    function.or_else(custom).filter(|name| !name.is_empty())
}

fn has_arguments(piece: &ToolCall) -> bool {
    let is_there = |text: &Option<String>, name: &str, extra: &BTreeMap<String, String>| {
        text.as_ref().is_some_and(|text| !text.is_empty()) || extra.contains_key(name)
    };
    let function = |call: &FunctionCall| is_there(&call.arguments, "arguments", &call.extra);
    let custom = |call: &CustomToolCall| is_there(&call.input, "input", &call.extra);
    piece.function.as_ref().is_some_and(function) || piece.custom.as_deref().is_some_and(custom)
}

/// Whether the arguments in `piece` are an object or the start of one.
fn begins_an_object(piece: &ToolCall) -> bool {
    let arguments = piece
        .function
        .as_ref()
        .and_then(|function| function.arguments.as_deref());
    arguments.is_some_and(|text| text.trim_start().starts_with('{'))
}

/// One call.
#[derive(Debug, Default)]
struct Call {
    index: Option<i64>,
    has_id: bool,
    id: Option<String>,
    r#type: Option<String>,
    function: Option<FunctionAccumulator>,
    custom: Option<FunctionAccumulator>,
    unknown: UnknownMembers,
}

impl Call {
    fn add(&mut self, piece: ToolCall) {
        let ToolCall {
            index: _,
            id,
            r#type,
            function,
            custom,
            extra,
        } = piece;
        self.id = id.filter(|id| !id.is_empty()).or(self.id.take());
        self.r#type = r#type
            .filter(|kind| !kind.is_empty())
            .or(self.r#type.take());
        if let Some(function) = function {
            self.function.get_or_insert_default().add_function(function);
        }
        if let Some(custom) = custom {
            let CustomToolCall { name, input, extra } = *custom;
            self.custom
                .get_or_insert_default()
                .add(name, input, "input", extra);
        }
        self.unknown.add(extra, Location::Delta);
    }

    fn functions(&self) -> impl Iterator<Item = &FunctionAccumulator> {
        self.function.iter().chain(&self.custom)
    }

    fn name(&self) -> Option<&str> {
        self.functions()
            .find_map(|function| function.name.as_deref())
            .filter(|name| !name.is_empty())
    }

    fn names_another(&self, piece: &ToolCall) -> bool {
        matches!((self.name(), name(piece)), (Some(known), Some(name)) if known != name)
    }

    fn has_arguments(&self) -> bool {
        self.functions().any(|function| function.has_arguments)
    }

    /// Whether the arguments are a complete JSON object, so that nothing can follow.
    fn has_whole_arguments(&self) -> bool {
        let arguments = self
            .function
            .as_ref()
            .and_then(|function| function.arguments.text());
        arguments.is_some_and(|text| {
            text.trim_end().ends_with('}') && serde_json::from_str::<IgnoredAny>(text).is_ok()
        })
    }

    fn finish(self) -> ToolCall {
        let mut extra = self.unknown.finish();
        remove_if_set(self.id.as_ref(), "id", &mut extra);
        remove_if_set(self.r#type.as_ref(), "type", &mut extra);
        remove_if_set(self.function.as_ref(), "function", &mut extra);
        remove_if_set(self.custom.as_ref(), "custom", &mut extra);
        let custom = self.custom.map(|custom| {
            let (name, input, extra) = custom.finish("input");
            Box::new(CustomToolCall { name, input, extra })
        });
        let function = self.function.map(FunctionAccumulator::finish_function);
        ToolCall {
            index: None,
            id: self.id,
            r#type: self.r#type,
            function,
            custom,
            extra,
        }
    }
}

/// A function or a custom tool, and its arguments.
#[derive(Debug, Default)]
pub(super) struct FunctionAccumulator {
    name: Option<String>,
    arguments: TextMember,
    /// Whether a piece of the arguments that is not empty has come.
    has_arguments: bool,
    unknown: UnknownMembers,
}

impl FunctionAccumulator {
    pub(super) fn add_function(&mut self, piece: FunctionCall) {
        let FunctionCall {
            name,
            arguments,
            extra,
        } = piece;
        self.add(name, arguments, "arguments", extra);
    }

    fn add(
        &mut self,
        name: Option<String>,
        arguments: Option<String>,
        member: &str,
        mut extra: BTreeMap<String, String>,
    ) {
        // Some engines repeat the name in each delta, others send it in pieces.
        match (&mut self.name, name) {
            (Some(known), Some(name)) if *known != name => known.push_str(&name),
            (Some(_), _) => {}
            (known @ None, name) => *known = name,
        }
        self.has_arguments |=
            arguments.as_ref().is_some_and(|text| !text.is_empty()) || extra.contains_key(member);
        self.arguments.add(arguments, member, &mut extra);
        self.unknown.add(extra, Location::Delta);
    }

    pub(super) fn finish_function(self) -> FunctionCall {
        let (name, arguments, extra) = self.finish("arguments");
        FunctionCall {
            name,
            arguments,
            extra,
        }
    }

    fn finish(self, member: &str) -> (Option<String>, Option<String>, BTreeMap<String, String>) {
        let mut extra = self.unknown.finish();
        remove_if_set(self.name.as_ref(), "name", &mut extra);
        let arguments = self.arguments.finish(member, &mut extra);
        (self.name, arguments, extra)
    }
}
