//! What a JSON member of the codec consists of, and which of the rules for members were used.

use super::json_rules::{
    FILLED, HISTORY, INDEX, JSON_TEXT, LIST_MESSAGES, NOT_IN_JSON, NULL_FLAG, NULL_KEPT,
    NULL_WHEN_UNSET, NULL_WHEN_UNSET_IN, OBJECT_NAME, OBJECT_TEXT, ONE_OR_MANY, RENAMED,
    TEXT_OR_LIST, WRITTEN_WHEN_EMPTY, renamed,
};

/// One JSON member.
pub struct Member {
    /// Its name.
    pub name: String,
    /// The fields that it is read into, as names in Rust; none if it is constant.
    pub fields: Vec<String>,
    /// Its kind, of `src/json/members/`, as a Rust expression.
    pub kind: String,
}

/// A field's name in JSON.
pub fn json_name(path: &str, field: &str, used: &mut UsedRules) -> String {
    match renamed(path) {
        Some(name) => {
            used.0.push(path.to_owned());
            name.to_owned()
        }
        None => field.to_owned(),
    }
}

/// The rules that matched something: one that matches nothing is a misspelling, and fails the
/// build.
#[derive(Default)]
pub struct UsedRules(pub Vec<String>);

impl UsedRules {
    /// Whether one of these rules is for this path.
    pub fn matches(&mut self, rules: &[&str], path: &str) -> bool {
        let matches = rules.contains(&path);
        if matches {
            self.0.push(path.to_owned());
        }
        matches
    }

    /// Fails if one of the rules matched nothing.
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
