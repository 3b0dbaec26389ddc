//! What names an answer and places what is in it: its id, when it was made, the model that gave it,
//! and the indexes of its choices. Clients read these without looking, and OpenAI requires them.
//! What an upstream leaves out of them is put in, for its true value is known.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, de::IgnoredAny};

use crate::json;

/// What one answer is called: in all of its chunks the same.
#[derive(Debug, Default)]
pub struct Identity {
    id: String,
    created: i64,
    model: String,
}

/// The members of an answer, or of a chunk of it, that name it.
pub struct Named<'a> {
    /// Its `id`, after what an id of such an answer begins with, such as `chatcmpl-`.
    pub id: Option<(&'static str, &'a mut String)>,
    /// Its `created`: seconds since 1970.
    pub created: Option<&'a mut i64>,
    /// Its `model`.
    pub model: &'a mut String,
    /// Its members without a field. What is of an unexpected type is there, and stays as it is.
    pub extra: &'a BTreeMap<String, String>,
}

impl Identity {
    /// Puts in what is missing: what an earlier chunk said, else a new id, the present time, and
    /// the model that was asked.
    pub(super) fn complete(&mut self, answer: Named<'_>, asked: Option<&str>) {
        let Named {
            id,
            created,
            model,
            extra,
        } = answer;
        if let Some((prefix, id)) = id
            && is_missing(id.is_empty(), &mut self.id, id, "id", extra)
        {
            if self.id.is_empty() {
                self.id = format!("{prefix}{:032x}", fastrand::u128(..));
            }
            id.clone_from(&self.id);
        }
        if let Some(created) = created
            && is_missing(*created == 0, &mut self.created, created, "created", extra)
        {
            if self.created == 0 {
                self.created = now();
            }
            *created = self.created;
        }
        if is_missing(model.is_empty(), &mut self.model, model, "model", extra) {
            if self.model.is_empty() {
                asked.unwrap_or_default().clone_into(&mut self.model);
            }
            model.clone_from(&self.model);
        }
    }
}

/// Whether a member has to be put in. The first that is there is remembered for later chunks.
fn is_missing<T: Clone + Default + PartialEq>(
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

/// Whether several things in a list have the index 0, as they do if their indexes aren't told.
pub(super) fn are_unplaced<'a>(indexes: impl Iterator<Item = &'a mut i32>) -> bool {
    indexes.filter(|index| **index == 0).nth(1).is_some()
}

/// Puts in the indexes that the answer's JSON doesn't tell: the places in the list.
pub(super) fn place<'a>(indexes: impl Iterator<Item = &'a mut i32>, answer: &[u8]) {
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
    for ((place, index), _) in indexes
        .enumerate()
        .zip(items)
        .filter(|(_, item)| item.index.is_none())
    {
        *index = i32::try_from(place).unwrap_or(i32::MAX);
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

    type Names = (String, i64, String);

    fn complete(identity: &mut Identity, names: &Names, extra: &[&str]) -> Names {
        let (mut id, mut created, mut model) = names.clone();
        let extra = extra
            .iter()
            .map(|name| ((*name).to_owned(), "7".to_owned()))
            .collect();
        let named = Named {
            id: Some(("x-", &mut id)),
            created: Some(&mut created),
            model: &mut model,
            extra: &extra,
        };
        identity.complete(named, Some("a/asked"));
        (id, created, model)
    }

    fn names(id: &str, created: i64, model: &str) -> Names {
        (id.to_owned(), created, model.to_owned())
    }

    #[test]
    fn what_is_missing_is_put_in_once_for_all_chunks_of_an_answer() {
        let identity = &mut Identity::default();
        let first = complete(identity, &names("", 0, ""), &[]);
        assert_eq!((first.0.get(..2), first.0.len()), (Some("x-"), 34));
        assert!(first.1 > 1_700_000_000, "{first:?}");
        assert_eq!(first.2, "a/asked");
        assert_eq!(complete(identity, &names("", 0, ""), &[]), first);
        assert_ne!(
            complete(&mut Identity::default(), &names("", 0, ""), &[]).0,
            first.0
        );
    }

    #[test]
    fn what_the_upstream_says_counts_and_holds_for_later_chunks_that_are_silent() {
        let identity = &mut Identity::default();
        let said = names("a", 5, "m");
        assert_eq!(complete(identity, &said, &[]), said);
        assert_eq!(complete(identity, &names("", 0, ""), &[]), said);
        let other = names("b", 6, "n");
        assert_eq!(
            complete(identity, &other, &[]),
            other,
            "nothing that is there is changed"
        );
        let odd = complete(identity, &names("", 0, ""), &["id", "created", "model"]);
        assert_eq!(
            odd,
            names("", 0, ""),
            "what is of an unexpected type stays as it is"
        );
    }
}
