//! What identifies an answer and its parts: the id, the time of creation, the model, and the
//! indexes of the choices. Clients rely on these, and OpenAI requires them. If upstream leaves one
//! out, the gateway sets it, because it knows the true value.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, de::IgnoredAny};

use crate::json;

/// The identity of one answer, the same in all of its messages.
#[derive(Debug, Default)]
pub struct Identity {
    id: String,
    created: i64,
    model: String,
}

/// The members of an answer, or of a message of its stream, that identify it.
pub struct IdentityFields<'a> {
    /// The prefix of such ids, such as `chatcmpl-`, and the `id`.
    pub id: Option<(&'static str, &'a mut String)>,
    /// The `created`, in seconds since 1970.
    pub created: Option<&'a mut i64>,
    /// The `model`.
    pub model: &'a mut String,
    /// The members without a field. A member with a value of an unexpected type is among them and
    /// stays as it is.
    pub extra: &'a BTreeMap<String, String>,
}

impl Identity {
    /// Sets what is missing in `fields`: the value of an earlier message, else a new id, the
    /// current time, and the `requested` model.
    pub(super) fn fill_in(&mut self, fields: IdentityFields<'_>, requested: Option<&str>) {
        let IdentityFields {
            id,
            created,
            model,
            extra,
        } = fields;
        if let Some((prefix, id)) = id
            && must_set(id.is_empty(), &mut self.id, id, "id", extra)
        {
            if self.id.is_empty() {
                self.id = format!("{prefix}{:032x}", fastrand::u128(..));
            }
            id.clone_from(&self.id);
        }
        if let Some(created) = created
            && must_set(*created == 0, &mut self.created, created, "created", extra)
        {
            if self.created == 0 {
                self.created = now();
            }
            *created = self.created;
        }
        if must_set(model.is_empty(), &mut self.model, model, "model", extra) {
            if self.model.is_empty() {
                requested.unwrap_or_default().clone_into(&mut self.model);
            }
            model.clone_from(&self.model);
        }
    }
}

/// Remembers the first `value` that upstream gives as `known`, for later messages. Returns whether
/// the member `name` is missing and must be set.
fn must_set<T: Clone + Default + PartialEq>(
    is_empty: bool,
    known: &mut T,
    value: &T,
    name: &str,
    extra: &BTreeMap<String, String>,
) -> bool {
    if is_empty {
        return !extra.contains_key(name);
    }
    if *known == T::default() {
        known.clone_from(value);
    }
    false
}

/// Whether more than one index is 0. That is so if upstream leaves the indexes out.
pub(super) fn lack_indexes<'a>(indexes: impl Iterator<Item = &'a mut i32>) -> bool {
    indexes.filter(|index| **index == 0).nth(1).is_some()
}

/// Sets the indexes that are missing in the JSON of the `answer`, to the positions in its list.
pub(super) fn set_indexes<'a>(indexes: impl Iterator<Item = &'a mut i32>, answer: &[u8]) {
    #[derive(Deserialize)]
    struct Item {
        index: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct List {
        #[serde(alias = "data")]
        choices: Vec<Item>,
    }
    let list = std::str::from_utf8(answer)
        .ok()
        .and_then(|text| json::peek::<List>(text).ok());
    let items = list.into_iter().flat_map(|list| list.choices);
    for ((position, index), _) in indexes
        .enumerate()
        .zip(items)
        .filter(|(_, item)| item.index.is_none())
    {
        *index = i32::try_from(position).unwrap_or(i32::MAX);
    }
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type ModelNames = (String, i64, String);

    fn fill_in(identity: &mut Identity, names: &ModelNames, extra: &[&str]) -> ModelNames {
        let (mut id, mut created, mut model) = names.clone();
        let extra = extra
            .iter()
            .map(|name| ((*name).to_owned(), "7".to_owned()))
            .collect();
        let fields = IdentityFields {
            id: Some(("x-", &mut id)),
            created: Some(&mut created),
            model: &mut model,
            extra: &extra,
        };
        identity.fill_in(fields, Some("a/asked"));
        (id, created, model)
    }

    fn names(id: &str, created: i64, model: &str) -> ModelNames {
        (id.to_owned(), created, model.to_owned())
    }

    #[test]
    fn missing_members_are_the_same_in_all_messages_of_an_answer() {
        let identity = &mut Identity::default();
        let first = fill_in(identity, &names("", 0, ""), &[]);
        assert_eq!((first.0.get(..2), first.0.len()), (Some("x-"), 34));
        assert!(first.1 > 1_700_000_000, "{first:?}");
        assert_eq!(first.2, "a/asked");
        assert_eq!(fill_in(identity, &names("", 0, ""), &[]), first);
        assert_ne!(
            fill_in(&mut Identity::default(), &names("", 0, ""), &[]).0,
            first.0
        );
    }

    #[test]
    fn a_value_of_the_upstream_stays_and_is_used_for_later_messages_without_one() {
        let identity = &mut Identity::default();
        let said = names("a", 5, "m");
        assert_eq!(fill_in(identity, &said, &[]), said);
        assert_eq!(fill_in(identity, &names("", 0, ""), &[]), said);
        let other = names("b", 6, "n");
        assert_eq!(
            fill_in(identity, &other, &[]),
            other,
            "a value that is there stays"
        );
        let odd = fill_in(identity, &names("", 0, ""), &["id", "created", "model"]);
        assert_eq!(odd, names("", 0, ""), "a value of an unexpected type stays");
    }
}
