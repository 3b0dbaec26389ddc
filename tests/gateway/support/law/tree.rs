//! JSON as a tree of its meaning.

use std::collections::BTreeMap;

/// A JSON value, reduced to its meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    /// The bits of a number, so that -0 differs from 0.
    Double(u64),
    Text(String),
    /// Text that the codec does not parse. It is compared exactly.
    Verbatim(String),
    List(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

/// Who wrote the JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Author {
    /// A caller: every known member has its type.
    Caller,
    /// An upstream: a member of another type is passed on unchanged.
    Upstream,
}

/// The first difference between two trees.
pub fn difference(expected: &Tree, got: &Tree, path: &str) -> String {
    match (expected, got) {
        (Tree::Object(expected), Tree::Object(got)) => {
            for (name, value) in expected {
                match got.get(name) {
                    None => return format!("{path}.{name} is gone: {value:?}"),
                    Some(other) if other != value => {
                        return difference(value, other, &format!("{path}.{name}"));
                    }
                    Some(_) => {}
                }
            }
            let name = got.keys().find(|name| !expected.contains_key(*name));
            name.map(|name| format!("{path}.{name} is new: {:?}", got[name]))
                .unwrap_or_default()
        }
        (Tree::List(expected), Tree::List(got)) if expected.len() == got.len() => {
            let place = expected
                .iter()
                .zip(got)
                .position(|(expected, got)| expected != got);
            place
                .map(|i| difference(&expected[i], &got[i], &format!("{path}[{i}]")))
                .unwrap_or_default()
        }
        _ => format!("{path}: wanted {expected:?}, got {got:?}"),
    }
}
