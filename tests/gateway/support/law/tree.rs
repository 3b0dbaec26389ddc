//! JSON as a tree of what has a meaning.

use std::collections::BTreeMap;

/// A JSON value, reduced to what has a meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    /// By its bits, so that -0 is not 0.
    Double(u64),
    Text(String),
    /// Text that the contract doesn't look into: every letter counts.
    Verbatim(String),
    List(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

/// Who wrote the JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Author {
    /// A caller: every known member has its type.
    Caller,
    /// An upstream: a member of another type travels verbatim.
    Upstream,
}

/// Where two trees first differ.
pub fn difference(wanted: &Tree, got: &Tree, path: &str) -> String {
    match (wanted, got) {
        (Tree::Object(wanted), Tree::Object(got)) => {
            for (name, value) in wanted {
                match got.get(name) {
                    None => return format!("{path}.{name} is gone: {value:?}"),
                    Some(other) if other != value => {
                        return difference(value, other, &format!("{path}.{name}"));
                    }
                    Some(_) => {}
                }
            }
            let name = got.keys().find(|name| !wanted.contains_key(*name));
            name.map(|name| format!("{path}.{name} is new: {:?}", got[name]))
                .unwrap_or_default()
        }
        (Tree::List(wanted), Tree::List(got)) if wanted.len() == got.len() => {
            let place = wanted
                .iter()
                .zip(got)
                .position(|(wanted, got)| wanted != got);
            place
                .map(|i| difference(&wanted[i], &got[i], &format!("{path}[{i}]")))
                .unwrap_or_default()
        }
        _ => format!("{path}: wanted {wanted:?}, got {got:?}"),
    }
}
