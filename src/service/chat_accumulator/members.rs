//! Members of an object: fields, and what is in `extra` under their names.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::json;

/// Moves the member `name` from `extra` into its field, if it has the type of the field.
pub(super) fn take<T: DeserializeOwned>(
    extra: &mut BTreeMap<String, String>,
    name: &str,
    field: &mut T,
) {
    if let Some(value) = extra
        .get(name)
        .and_then(|json| serde_json::from_str(json).ok())
    {
        *field = value;
        extra.remove(name);
    }
}

pub(super) fn last<T>(known: &mut Option<T>, piece: Option<T>) {
    if piece.is_some() {
        *known = piece;
    }
}

/// Removes the member `name` from `extra` if its field is set. In JSON the member in `extra` would
/// win.
pub(super) fn remove_if_set<T>(
    field: Option<&T>,
    name: &str,
    extra: &mut BTreeMap<String, String>,
) {
    if field.is_some() {
        extra.remove(name);
    }
}

/// Decodes a list of messages whose form is not a list of objects: the elements that can be
/// decoded. `None` for a list of more than `MAX` elements.
pub(super) fn decode_elements<T: DeserializeOwned, const MAX: usize>(json: &str) -> Option<Vec<T>> {
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
