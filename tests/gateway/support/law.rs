//! The law of losslessness: JSON that goes through a message comes out with the same meaning, save
//! for the changes of form that the tables here name one by one.
//!
//! It is written down a second time on purpose, from the documents and not from
//! `build/json_codec.rs`: a rule that slips into the codec unnoticed breaks it.

use std::{collections::BTreeMap, sync::LazyLock};

use featherwire::proto::DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members that come out with this value where the upstream says nothing or null; any other word is
/// kept.
pub const CONSTANT_OBJECT: &[(&str, &str)] = &[
    ("CreateChatCompletionResponse", "chat.completion"),
    ("StreamChatCompletionResponse", "chat.completion.chunk"),
    ("CreateCompletionResponse", "text_completion"),
    ("StreamCompletionResponse", "text_completion"),
    ("CreateEmbeddingResponse", "list"),
    ("Embedding", "embedding"),
    ("ListModelsResponse", "list"),
    ("Model", "model"),
];

/// Required members that may be null: absent, null and (of a list) empty come out as null.
const NULL_WHEN_UNSET: &[&str] = &[
    "ChatChoice.finish_reason",
    "ChatChoice.logprobs",
    "ChatChunkChoice.finish_reason",
    "CompletionChoice.finish_reason",
    "CompletionChoice.logprobs",
    "Logprobs.content",
    "Logprobs.refusal",
    "TokenLogprob.bytes",
    "TokenLogprob.logprob",
    "TokenLogprob.token",
    "TopLogprob.bytes",
    "TopLogprob.logprob",
    "TopLogprob.token",
];

/// The same, in one place only: a member of the message that is this member of that one.
const NULL_WHEN_UNSET_IN: &[(&str, &str)] = &[
    ("ChatChoice.message", "content"),
    ("ChatChoice.message", "refusal"),
];

/// Members whose null is not the same as their absence.
const NULL_KEPT: &[&str] = &[
    "ChatMessage.content",
    "Concurrency.limit",
    "Plan.concurrency",
    "Plan.max_context_length",
    "Plan.max_model_size",
];

/// Required members of an answer that come out with their true value where the upstream leaves them
/// out: a member of a message, and what it is.
const PUT_IN: &[(&str, &str, &str)] = &[
    ("ChatChoice", "message", "{}"),
    ("ChatChunkChoice", "delta", "{}"),
];

/// Roles of messages that are no answers given back.
const CALLERS_ROLES: [&str; 3] = ["system", "developer", "user"];

/// Places of things among others: in an answer, a text with an integer in it is that integer.
pub const INDEX: &[&str] = &[
    "ChatChoice.index",
    "ChatChunkChoice.index",
    "CompletionChoice.index",
    "Embedding.index",
    "ToolCall.index",
];

/// Required lists: absent and null come out as the empty list. Any other list or map that is empty
/// is left out.
const EMPTY_LIST_WHEN_UNSET: &[&str] = &[
    "CallReport.tried",
    "Concurrency.requests",
    "CreateChatCompletionRequest.messages",
    "CreateChatCompletionResponse.choices",
    "CreateCompletionResponse.choices",
    "CreateEmbeddingResponse.data",
    "ListModelsResponse.data",
    "StreamChatCompletionResponse.choices",
    "StreamCompletionResponse.choices",
    "TokenLogprob.top_logprobs",
    "TokenizeResponse.tokens",
];

/// The words of an enum, and their numbers. Null and absence are 0.
pub const WORDS: &[(&str, &[(&str, i32)])] = &[(
    "Priority",
    &[("interactive", 1), ("default", 2), ("batch", 3)],
)];

/// Required members that an upstream may leave out or say null for: they come out as zero or the
/// empty string.
const ZERO_WHEN_UNSET: &[(&str, &str)] = &[
    ("CompletionChoice.index", "0"),
    ("CompletionChoice.text", "\"\""),
    ("CreateCompletionResponse.model", "\"\""),
    ("Model.created", "0"),
    ("Model.owned_by", "\"\""),
    ("StreamChatCompletionResponse.id", "\"\""),
    ("StreamCompletionResponse.created", "0"),
    ("StreamCompletionResponse.model", "\"\""),
];

/// Doubles that protobuf can't tell unset from zero: -0 comes out as 0, the same number.
const ZERO_WITHOUT_SIGN: &[&str] = &[
    "CreateChatCompletionRequest.logit_bias",
    "CreateCompletionRequest.logit_bias",
];

/// A single string that comes out as a list of one.
const LIST_OF_ONE: &[&str] = &[
    "CreateChatCompletionRequest.stop",
    "CreateCompletionRequest.stop",
];

/// JSON text: compared letter for letter.
pub const JSON_TEXT: &[&str] = &[
    "CompletionChoice.logprobs",
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "CreateChatCompletionResponse.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
    "StreamChatCompletionResponse.moderation",
];

/// JSON text of an object: an empty list is the same as absence, as it is for members that are
/// messages or maps.
pub const OBJECT_TEXT: &[&str] = &[
    "CreateChatCompletionRequest.chat_template_kwargs",
    "CreateChatCompletionRequest.moderation",
    "FunctionDefinition.parameters",
    "JsonSchemaFormat.schema",
];

/// Fields with another name in JSON.
const RENAMED: &[(&str, &str)] = &[
    ("ListModelsResponse.models", "data"),
    ("Embedding.base64", "embedding"),
];

/// Fields that JSON doesn't have.
const NOT_IN_JSON: &[&str] = &[
    "Concurrency.unlimited",
    "ListModelsResponse.age_ms",
    "Plan.unlimited_concurrency",
    "Plan.unlimited_context_length",
    "Plan.unlimited_model_size",
];

/// Members that are a text or a list, and two fields: the text, which names the member, and the
/// list.
const TEXT_OR_LIST: &[(&str, &str)] = &[
    ("ChatDelta.content", "content_parts"),
    ("ChatMessage.content", "content_parts"),
    ("Prediction.content", "content_parts"),
];

/// A JSON value, with as much of its text as has a meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    /// By its bits, so that -0 is not 0.
    Double(u64),
    Text(String),
    /// What the contract doesn't look into: every letter counts.
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

/// What came out of the codec, as a tree.
pub fn tree(message: &str, text: &str) -> Tree {
    let message = descriptor(message);
    object(
        text,
        &message,
        &Reader {
            author: Author::Upstream,
            expects: false,
        },
        "",
    )
    .expect("an object")
}

/// What the law demands for this text, as a tree.
pub fn demanded(message: &str, text: &str, author: Author) -> Tree {
    let message = descriptor(message);
    object(
        text,
        &message,
        &Reader {
            author,
            expects: true,
        },
        "",
    )
    .expect("an object")
}

/// Holds one document to the law.
///
/// # Errors
/// The JSON that came out, and how the two differ.
pub fn hold<M>(message: &str, text: &str, author: Author) -> Result<(), String>
where
    M: prost::Message + Default + PartialEq + std::fmt::Debug + serde::Serialize + DeserializeOwned,
{
    use featherwire::json;
    let decoded: M = match author {
        Author::Caller => json::decode_request(text.as_bytes()),
        Author::Upstream => json::decode_answer(text.as_bytes()),
    }
    .map_err(|bad| format!("decode: {bad}\n{text}"))?;
    let travelled =
        M::decode(&*decoded.encode_to_vec()).map_err(|bad| format!("protobuf: {bad}"))?;
    if travelled != decoded {
        return Err(format!(
            "protobuf changed the message: {decoded:?}\n{travelled:?}"
        ));
    }
    let mut out = Vec::new();
    match author {
        Author::Caller => json::encode_request(&travelled).map(|bytes| out = bytes),
        Author::Upstream => json::encode_answer(&travelled, &mut out),
    }
    .map_err(|bad| format!("encode: {bad}\n{text}"))?;
    let out = String::from_utf8(out).unwrap();
    let (wanted, got) = (demanded(message, text, author), tree(message, &out));
    if wanted == got {
        Ok(())
    } else {
        Err(format!(
            "{}\nin:  {text}\nout: {out}",
            difference(&wanted, &got, "$")
        ))
    }
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

pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).unwrap());
    &POOL
}

pub fn descriptor(message: &str) -> MessageDescriptor {
    let found = pool().get_message_by_name(&format!("featherwire.v1.{message}"));
    found.unwrap_or_else(|| panic!("{message}: no such message"))
}

/// The fields that make one member of a message's JSON: one, the variants of a oneof, or a text and
/// a list.
#[derive(Clone)]
pub struct Slot {
    pub name: String,
    pub path: String,
    pub variants: Vec<FieldDescriptor>,
}

impl Slot {
    pub fn field(&self) -> &FieldDescriptor {
        &self.variants[0]
    }

    pub fn is_union(&self) -> bool {
        self.field()
            .containing_oneof()
            .is_some_and(|oneof| !oneof.is_synthetic())
    }

    /// Whether the member is a text or a list, each with a field.
    pub fn is_text_or_list(&self) -> bool {
        TEXT_OR_LIST.iter().any(|(path, _)| *path == self.path)
    }

    pub fn is_json_text(&self) -> bool {
        JSON_TEXT.contains(&self.path.as_str())
    }

    /// Whether the member can't be told absent from zero.
    pub fn is_plain(&self) -> bool {
        let is_word = matches!(self.field().kind(), Kind::Enum(_));
        let is_many = self.field().is_list() || self.field().is_map();
        !self.is_union() && !self.field().supports_presence() && !is_many && !is_word
    }

    /// Whether the member is an object, or may be one.
    pub fn is_object(&self) -> bool {
        let is_message = |field: &FieldDescriptor| match field.kind() {
            Kind::Message(message) => list_of(&message).is_none() && !field.is_list(),
            _ => false,
        };
        OBJECT_TEXT.contains(&self.path.as_str())
            || self.field().is_map()
            || self.variants.iter().any(is_message)
    }

    pub fn allows_one(&self) -> bool {
        LIST_OF_ONE.contains(&self.path.as_str())
    }
}

/// The members of a message's JSON that have a field; `object` is not among them.
pub fn slots(message: &MessageDescriptor) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    for field in message.fields().filter(|field| field.name() != "extra") {
        let own = format!("{}.{}", message.name(), field.name());
        if NOT_IN_JSON.contains(&own.as_str()) {
            continue;
        }
        let text = TEXT_OR_LIST.iter().find(|(path, list)| {
            path.split_once('.')
                .is_some_and(|(owner, _)| owner == message.name())
                && *list == field.name()
        });
        if let Some((path, _)) = text {
            slots
                .iter_mut()
                .find(|slot| slot.path == *path)
                .expect("the text comes first")
                .variants
                .push(field);
            continue;
        }
        let oneof = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic());
        if oneof.is_some()
            && let Some(slot) = slots
                .iter_mut()
                .find(|slot| slot.field().containing_oneof() == oneof)
        {
            slot.variants.push(field);
            continue;
        }
        let renamed = RENAMED.iter().find(|(path, _)| *path == own);
        let name = renamed.map_or_else(|| field.name().to_owned(), |(_, name)| (*name).to_owned());
        slots.push(Slot {
            path: format!("{}.{name}", message.name()),
            name,
            variants: vec![field],
        });
    }
    slots
}

/// Messages that are a list in JSON: their one field.
pub fn list_of(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let is_list =
        ["StringList", "TokenList", "TokenLists", "FloatVector"].contains(&message.name());
    is_list.then(|| message.fields().next().unwrap())
}

struct Reader {
    author: Author,
    /// Whether the rules are applied: to what is expected, never to what came out.
    expects: bool,
}

fn object(text: &str, message: &MessageDescriptor, reader: &Reader, place: &str) -> Option<Tree> {
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
    let is_given_back = message.name() == "ChatMessage"
        && matches!(role(), Some(Tree::Text(role)) if !role.is_empty() && !CALLERS_ROLES.contains(&role.as_str()));
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
        put_in(&mut tree, message, reader, place);
        for slot in &slots {
            apply_rules(&mut tree, slot, place);
        }
    }
    Some(Tree::Object(tree))
}

/// Puts in what an answer must have, and whose value is known.
fn put_in(
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

/// A member's value; `None` if it isn't of the member's type.
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

/// The words of this enum.
pub fn words(kind: &str) -> &'static [(&'static str, i32)] {
    WORDS
        .iter()
        .find(|(name, _)| *name == kind)
        .unwrap_or_else(|| panic!("{kind}: no words for it"))
        .1
}

/// A number without a fractional part, however it is written.
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

/// An object's members as they stand; `None` if it is something else.
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
