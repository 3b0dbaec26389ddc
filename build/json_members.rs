//! The parts of a JSON member in the codec, and the check that every rule for members was used.

use super::json_rules::{
    FILLED, HISTORY, INDEX, JSON_TEXT, LIST_MESSAGES, NOT_IN_JSON, NULL_FLAG, NULL_KEPT,
    NULL_WHEN_UNSET, NULL_WHEN_UNSET_IN, OBJECT_NAME, OBJECT_TEXT, ONE_OR_MANY, RENAMED,
    TEXT_OR_LIST, WRITTEN_WHEN_EMPTY, renamed,
};

/// One JSON member.
pub struct Member {
    /// The name of the member.
    pub name: String,
    /// The Rust names of the fields that hold the member. Empty for a constant member.
    pub fields: Vec<String>,
    /// The kind of the member (in `src/json/members/`), as a Rust expression.
    pub kind: String,
}

/// The JSON name of a field.
pub fn json_name(path: &str, field: &str, used: &mut UsedRules) -> String {
    match renamed(path) {
        Some(name) => {
            used.0.push(path.to_owned());
            name.to_owned()
        }
        None => field.to_owned(),
    }
}

/// The rules that matched something. A rule that matches nothing is misspelt and fails the build.
#[derive(Default)]
pub struct UsedRules(pub Vec<String>);

impl UsedRules {
    /// Whether `rules` contains `path`.
    pub fn matches(&mut self, rules: &[&str], path: &str) -> bool {
        let matches = rules.contains(&path);
        if matches {
            self.0.push(path.to_owned());
        }
        matches
    }

    /// Panics if a rule matched nothing.
    pub fn assert_all(&self) {
        let listed = [
            JSON_TEXT,
            OBJECT_TEXT,
            NULL_WHEN_UNSET,
            NULL_KEPT,
            WRITTEN_WHEN_EMPTY,
            INDEX,
            ONE_OR_MANY,
            LIST_MESSAGES,
            NOT_IN_JSON,
            HISTORY,
        ]
        .concat();
        let keyed = OBJECT_NAME
            .iter()
            .chain(RENAMED)
            .chain(TEXT_OR_LIST)
            .chain(NULL_FLAG)
            .map(|(path, _)| *path);
        let placed = NULL_WHEN_UNSET_IN
            .iter()
            .chain(FILLED)
            .map(|(path, _)| *path);
        for path in listed.into_iter().chain(keyed).chain(placed) {
            assert!(
                self.0.iter().any(|used| used == path),
                "JSON rule for {path}: no such message or field"
            );
        }
    }
}
