//! Parses JSON to a tree, and applies the rules to the expected tree.

use std::collections::BTreeMap;

use prost_reflect::{Kind, MessageDescriptor};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    slots::*,
    tables::*,
    tree::{Author, Tree},
};

pub struct Reader {
    pub author: Author,
    /// Whether the rules are applied. They are applied to the expected tree, never to the output.
    pub expects: bool,
}

pub fn object(
    text: &str,
    message: &MessageDescriptor,
    reader: &Reader,
    place: &str,
) -> Option<Tree> {
    let slots = slots(message);
    let mut tree = BTreeMap::new();
    let members = members(text)?;
    let as_answer = Reader {
        author: Author::Upstream,
        ..*reader
    };
    let role = || {
        members
            .iter()
            .rev()
            .find(|(name, _)| name == "role")
            .and_then(|(_, raw)| scalar(raw, &Kind::String))
    };
    let is_answers_role = |role| {
        matches!(role, Some(Tree::Text(role))
            if !role.is_empty() && !CALLERS_ROLES.contains(&role.as_str()))
    };
    let is_given_back = message.name() == "ChatMessage" && is_answers_role(role());
    let reader = if is_given_back { &as_answer } else { reader };
    for (name, raw) in members {
        let slot = slots.iter().find(|slot| slot.name == name);
        let Some(slot) = slot else {
            tree.insert(name, Tree::Verbatim(raw.to_owned()));
            continue;
        };
        let mut value = value(raw, slot, reader);
        if reader.expects && ZERO_WITHOUT_SIGN.contains(&slot.path.as_str()) {
            value = value.map(without_sign_of_zero);
        }
        assert!(
            value.is_some() || reader.author == Author::Upstream,
            "{}: not of the type that the contract gives it: {raw}",
            slot.path
        );
        tree.insert(
            name,
            value.unwrap_or_else(|| Tree::Verbatim(raw.to_owned())),
        );
    }
    if reader.expects {
        let constant = CONSTANT_OBJECT
            .iter()
            .find(|(path, _)| *path == message.name());
        let is_said = |tree: &BTreeMap<String, Tree>| {
            tree.get("object")
                .is_some_and(|object| *object != Tree::Verbatim("null".to_owned()))
        };
        if let Some((_, value)) = constant.filter(|_| !is_said(&tree)) {
            tree.insert("object".to_owned(), Tree::Verbatim(format!("\"{value}\"")));
        }
        add_required(&mut tree, message, reader, place);
        for slot in &slots {
            apply_rules(&mut tree, slot, place);
        }
    }
    Some(Tree::Object(tree))
}

/// Adds the members that an answer must have and whose value is known.
fn add_required(
    tree: &mut BTreeMap<String, Tree>,
    message: &MessageDescriptor,
    reader: &Reader,
    place: &str,
) {
    let is_unset = |tree: &BTreeMap<String, Tree>, name: &str| {
        matches!(tree.get(name), None | Some(Tree::Null))
    };
    let own = PUT_IN.iter().filter(|(owner, ..)| *owner == message.name());
    for (owner, name, value) in own {
        if is_unset(tree, name) {
            let kind = message.get_field_by_name(name).unwrap().kind();
            let value = one(value, &kind, reader, &format!("{owner}.{name}")).unwrap();
            tree.insert((*name).to_owned(), value);
        }
    }
    if place == "ChatChoice.message"
        && (is_unset(tree, "role") || tree["role"] == Tree::Text(String::new()))
    {
        tree.insert("role".to_owned(), Tree::Text("assistant".to_owned()));
    }
    let parts: &[&str] = match message.name() {
        "Usage" => &["prompt_tokens", "completion_tokens"],
        "EmbeddingUsage" => &["prompt_tokens"],
        _ => return,
    };
    let count = |name: &&str| match tree.get(*name) {
        Some(Tree::Integer(count)) => i32::try_from(*count).ok(),
        _ => None,
    };
    let sum = parts
        .iter()
        .map(count)
        .try_fold(0_i32, |sum, count| sum.checked_add(count?));
    if let Some(sum) = sum.filter(|_| is_unset(tree, "total_tokens")) {
        tree.insert("total_tokens".to_owned(), Tree::Integer(sum.into()));
    }
}

fn without_sign_of_zero(value: Tree) -> Tree {
    match value {
        Tree::Double(bits) if f64::from_bits(bits) == 0.0 => Tree::Double(0),
        Tree::Object(map) => Tree::Object(
            map.into_iter()
                .map(|(name, value)| (name, without_sign_of_zero(value)))
                .collect(),
        ),
        other => other,
    }
}

fn apply_rules(tree: &mut BTreeMap<String, Tree>, slot: &Slot, place: &str) {
    let many = slot.field().is_list() || slot.field().is_map();
    let unset = match tree.get(&slot.name) {
        None | Some(Tree::Null) => true,
        Some(Tree::List(list)) => many && list.is_empty(),
        Some(Tree::Object(map)) => many && map.is_empty(),
        Some(_) => false,
    };
    if !unset {
        return;
    }
    let path = slot.path.as_str();
    let is_nullable = NULL_WHEN_UNSET_IN.contains(&(place, &slot.name));
    if NULL_KEPT.contains(&path) && !is_nullable {
        return;
    }
    tree.remove(&slot.name);
    let stands_for_it = if NULL_WHEN_UNSET.contains(&path) || is_nullable {
        Tree::Null
    } else if EMPTY_LIST_WHEN_UNSET.contains(&path) {
        Tree::List(Vec::new())
    } else if let Some((_, zero)) = ZERO_WHEN_UNSET.iter().find(|(zero, _)| *zero == path) {
        scalar(zero, &slot.field().kind()).unwrap()
    } else {
        assert!(
            !slot.is_plain(),
            "{path}: required, and no rule says what comes out when it is unset"
        );
        return;
    };
    tree.insert(slot.name.clone(), stands_for_it);
}

/// The value of a member. `None` if it does not have the member's type.
fn value(raw: &str, slot: &Slot, reader: &Reader) -> Option<Tree> {
    let field = slot.field();
    let inside_list = raw.strip_prefix('[').and_then(|raw| raw.strip_suffix(']'));
    if slot.is_object() && inside_list.is_some_and(|inside| inside.trim_ascii().is_empty()) {
        return Some(Tree::Null);
    }
    if INDEX.contains(&slot.path.as_str()) && reader.expects && reader.author == Author::Upstream {
        let number = raw
            .strip_prefix('"')
            .and_then(|raw| raw.strip_suffix('"'))
            .and_then(|raw| raw.parse::<i32>().ok());
        if let Some(number) = number.filter(|number| raw == format!("\"{number}\"")) {
            return Some(Tree::Integer(number.into()));
        }
    }
    if slot.is_json_text() {
        let is_null = raw == "null" && !slot.is_plain();
        return Some(if is_null {
            Tree::Null
        } else {
            Tree::Verbatim(raw.to_owned())
        });
    }
    if raw == "null" {
        return Some(Tree::Null);
    }
    if slot.is_text_or_list() {
        let [text, elements] = &slot.variants[..] else {
            panic!("{}: a text and a list", slot.path)
        };
        return one(raw, &text.kind(), reader, "").or_else(|| list(raw, &elements.kind(), reader));
    }
    if slot.is_union() {
        return slot
            .variants
            .iter()
            .find_map(|variant| one(raw, &variant.kind(), reader, &slot.path));
    }
    if field.is_map() {
        let values = field
            .kind()
            .as_message()
            .unwrap()
            .map_entry_value_field()
            .kind();
        let map = members(raw)?
            .into_iter()
            .map(|(name, raw)| Some((name, one(raw, &values, reader, "")?)));
        return map.collect::<Option<_>>().map(Tree::Object);
    }
    if field.is_list() {
        if raw.starts_with('"') && slot.allows_one() {
            let text = one(raw, &field.kind(), reader, "")?;
            return Some(if reader.expects {
                Tree::List(vec![text])
            } else {
                text
            });
        }
        return list(raw, &field.kind(), reader);
    }
    one(raw, &field.kind(), reader, &slot.path)
}

fn list(raw: &str, kind: &Kind, reader: &Reader) -> Option<Tree> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    elements
        .iter()
        .map(|element| one(element.get(), kind, reader, ""))
        .collect::<Option<_>>()
        .map(Tree::List)
}

fn one(raw: &str, kind: &Kind, reader: &Reader, place: &str) -> Option<Tree> {
    match kind {
        Kind::Message(message) => match list_of(message) {
            Some(field) => list(raw, &field.kind(), reader),
            None => object(raw, message, reader, place),
        },
        kind => scalar(raw, kind),
    }
}

fn scalar(raw: &str, kind: &Kind) -> Option<Tree> {
    match kind {
        Kind::Bool => serde_json::from_str(raw).ok().map(Tree::Bool),
        Kind::String => serde_json::from_str(raw).ok().map(Tree::Text),
        Kind::Enum(kind) => {
            let word = serde_json::from_str::<String>(raw).ok()?;
            words(kind.name())
                .iter()
                .any(|(known, _)| *known == word)
                .then_some(Tree::Text(word))
        }
        Kind::Int32 => integer(raw)
            .filter(|number| i32::try_from(*number).is_ok())
            .map(Tree::Integer),
        Kind::Int64 => integer(raw).map(Tree::Integer),
        // Rust's own reading of a number, which is exact.
        Kind::Double if raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
            raw.parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
                .map(|number| Tree::Double(number.to_bits()))
        }
        Kind::Double => None,
        Kind::Bytes => {
            let bytes: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            let byte = |raw: &str| {
                integer(raw)
                    .filter(|number| u8::try_from(*number).is_ok())
                    .map(Tree::Integer)
            };
            let bytes = bytes.iter().map(|raw| byte(raw.get()));
            bytes.collect::<Option<_>>().map(Tree::List)
        }
        kind => panic!("the contract has no {kind:?}"),
    }
}

/// A number without a fractional part, in any notation.
fn integer(raw: &str) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if raw.starts_with('"') {
        return None;
    }
    let double = || {
        raw.parse::<f64>()
            .ok()
            .filter(|number| number.fract() == 0.0 && number.abs() <= EXACT_MAX)
    };
    raw.parse()
        .ok()
        .or_else(|| double().map(|number| number as i64))
}

/// The members of an object, unchanged. `None` if the text is not an object.
pub fn members(text: &str) -> Option<Vec<(String, &str)>> {
    struct Members<'a>(Vec<(String, &'a str)>);

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;
            impl<'de> Visitor<'de> for Collect {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Members<'de>, A::Error> {
                    let mut members = Vec::new();
                    while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
                        members.push((name, raw.get()));
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }
    serde_json::from_str::<Members<'_>>(text)
        .ok()
        .map(|members| members.0)
}
