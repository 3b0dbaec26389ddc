//! The law of losslessness over documents and messages that nobody thought of: made up from the
//! contract's descriptors, so that a new field is covered on the day it is added. The same ones in
//! every run.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use featherwire::proto::v1::{
    ChatMessage, Concurrency, CreateChatCompletionRequest, CreateChatCompletionResponse,
    CreateCompletionRequest, CreateCompletionResponse, CreateEmbeddingRequest,
    CreateEmbeddingResponse, Model, Plan, StreamChatCompletionResponse, StreamCompletionResponse,
};
use proptest::{
    collection::{btree_map, hash_map, vec},
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use crate::support::law::{self, Author, Slot};

/// Made-up documents, and made-up messages, of each type.
const CASES: u32 = 100;

/// How many elements a list has.
const LIST: Range<usize> = 0..3;

macro_rules! for_each_message {
    ($check:ident) => {
        $check::<CreateChatCompletionRequest>("CreateChatCompletionRequest", Author::Caller);
        $check::<CreateCompletionRequest>("CreateCompletionRequest", Author::Caller);
        $check::<CreateEmbeddingRequest>("CreateEmbeddingRequest", Author::Caller);
        $check::<CreateChatCompletionResponse>("CreateChatCompletionResponse", Author::Upstream);
        $check::<StreamChatCompletionResponse>("StreamChatCompletionResponse", Author::Upstream);
        $check::<CreateCompletionResponse>("CreateCompletionResponse", Author::Upstream);
        $check::<StreamCompletionResponse>("StreamCompletionResponse", Author::Upstream);
        $check::<CreateEmbeddingResponse>("CreateEmbeddingResponse", Author::Upstream);
        $check::<Model>("Model", Author::Upstream);
        $check::<Plan>("Plan", Author::Upstream);
        $check::<Concurrency>("Concurrency", Author::Upstream);
    };
}

#[test]
fn made_up_json_comes_back_as_it_went_in() {
    for_each_message!(json_comes_back);
}

#[test]
fn made_up_messages_come_back_as_they_went_in() {
    for_each_message!(message_comes_back);
}

fn json_comes_back<M>(message: &str, author: Author)
where
    M: prost::Message
        + Default
        + PartialEq
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let check = |text: String| law::hold::<M>(message, &text, author).map_err(TestCaseError::fail);
    runner()
        .run(&document(&law::descriptor(message), author), check)
        .unwrap_or_else(|problem| fail(message, problem));
}

fn message_comes_back<M>(message: &str, author: Author)
where
    M: prost::Message
        + Default
        + PartialEq
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let check = |made_up: DynamicMessage| {
        use featherwire::json;
        use prost::Message as _;
        let sent = M::decode(&*made_up.encode_to_vec())
            .map_err(|bad| TestCaseError::fail(bad.to_string()))?;
        let mut text = Vec::new();
        let written = match author {
            Author::Caller => json::encode_request(&sent).map(|bytes| text = bytes),
            Author::Upstream => json::encode_answer(&sent, &mut text),
        };
        written.map_err(|bad| TestCaseError::fail(bad.to_string()))?;
        let read: Result<M, _> = match author {
            Author::Caller => json::decode_request(&text),
            Author::Upstream => json::decode_answer(&text),
        };
        let text = String::from_utf8_lossy(&text);
        let came = read.map_err(|bad| TestCaseError::fail(format!("{bad}: {text}")))?;
        prop_assert!(came == sent, "{text}");
        // Bytes tell what equality doesn't: 0 from -0.
        prop_assert!(came.encode_to_vec() == sent.encode_to_vec(), "{text}");
        Ok(())
    };
    runner()
        .run(&made_up(&law::descriptor(message)), check)
        .unwrap_or_else(|problem| fail(message, problem));
}

/// So that a member which gets a field one day breaks nobody who sends it in `extra`.
#[test]
fn a_member_in_extra_is_the_member_itself() {
    in_extra::<CreateChatCompletionRequest>("CreateChatCompletionRequest", |request| {
        &mut request.extra
    });
    in_extra::<CreateCompletionRequest>("CreateCompletionRequest", |request| &mut request.extra);
    in_extra::<CreateEmbeddingRequest>("CreateEmbeddingRequest", |request| &mut request.extra);
    in_extra::<ChatMessage>("ChatMessage", |message| &mut message.extra);
}

fn in_extra<M>(message: &str, extra: fn(&mut M) -> &mut BTreeMap<String, String>)
where
    M: serde::Serialize + serde::de::DeserializeOwned,
{
    use featherwire::json;
    let check = |(text, chosen): (String, u64)| {
        let failed = |bad: json::BadJson| TestCaseError::fail(format!("{bad}: {text}"));
        let members: BTreeMap<String, &str> = law::members(&text).unwrap().into_iter().collect();
        let mut kept = Vec::new();
        let mut moved = BTreeMap::new();
        for (place, (name, raw)) in members.into_iter().enumerate() {
            if chosen >> (place % 64) & 1 == 1 {
                moved.insert(name, raw.to_owned());
            } else {
                kept.push(format!("{}:{raw}", serde_json::to_string(&name).unwrap()));
            }
        }
        let mut split: M =
            json::decode_request(format!("{{{}}}", kept.join(",")).as_bytes()).map_err(failed)?;
        // What is in `extra` of what is kept (a null, an empty list) stays there.
        extra(&mut split).extend(moved);
        let split = json::encode_request(&split).map_err(failed)?;
        let whole: M = json::decode_request(text.as_bytes()).map_err(failed)?;
        let whole = json::encode_request(&whole).map_err(failed)?;
        let [whole, split] =
            [whole, split].map(|json| law::tree(message, std::str::from_utf8(&json).unwrap()));
        prop_assert!(
            whole == split,
            "{}\n{text}",
            law::difference(&whole, &split, "$")
        );
        Ok(())
    };
    let documents = (
        document(&law::descriptor(message), Author::Caller),
        any::<u64>(),
    );
    runner()
        .run(&documents, check)
        .unwrap_or_else(|problem| fail(message, problem));
}

/// The reason tells the smallest case by its JSON; as a message with descriptors it would fill
/// pages.
fn fail<T>(message: &str, problem: TestError<T>) {
    match problem {
        TestError::Fail(reason, _) | TestError::Abort(reason) => panic!("{message}: {reason}"),
    }
}

fn runner() -> TestRunner {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

// JSON

/// A document of this message: what it names, and unknown members.
fn document(message: &MessageDescriptor, author: Author) -> BoxedStrategy<String> {
    let mut members: Vec<BoxedStrategy<Option<String>>> = law::slots(message)
        .into_iter()
        .map(|slot| {
            let name = format!("{:?}: ", slot.name);
            let value = match author {
                Author::Caller => value(&slot, author),
                Author::Upstream => {
                    prop_oneof![12 => value(&slot, author), 1 => of_another_type()].boxed()
                }
            };
            let value = match () {
                () if slot.is_object() => {
                    prop_oneof![12 => value, 1 => Just("[ ]".to_owned())].boxed()
                }
                () if law::INDEX.contains(&slot.path.as_str()) && author == Author::Upstream => {
                    prop_oneof![4 => value, 1 => int32().prop_map(|index| format!("\"{index}\""))]
                        .boxed()
                }
                () => value,
            };
            let value = value.prop_map(move |value| format!("{name}{value}"));
            match slot.is_plain() {
                true => value.prop_map(Some).boxed(),
                false => {
                    let null = Just(Some(format!("{:?}:null", slot.name)));
                    prop_oneof![6 => Just(None), 4 => value.prop_map(Some), 1 => null].boxed()
                }
            }
        })
        .collect();
    if law::CONSTANT_OBJECT
        .iter()
        .any(|(object, _)| *object == message.name())
    {
        members.push(
            string_text()
                .prop_map(|text| Some(format!("\"object\":{text}")))
                .boxed(),
        );
    }
    let unknown = btree_map(string_text(), any_json(), 0..2);
    let unknown = unknown.prop_map(|map| {
        let members = map
            .into_iter()
            .map(|(name, value)| format!("\"x-{}:{value}", after_quote(&name)));
        Some(members.collect::<Vec<_>>().join(" ,\n"))
    });
    members.push(
        unknown
            .prop_map(|members| members.filter(|members| !members.is_empty()))
            .boxed(),
    );
    members
        .prop_shuffle()
        .prop_map(|members| {
            format!(
                "{{{}}}",
                members.into_iter().flatten().collect::<Vec<_>>().join(",")
            )
        })
        .boxed()
}

fn value(slot: &Slot, author: Author) -> BoxedStrategy<String> {
    let field = slot.field();
    if slot.is_json_text() {
        return any_json();
    }
    if slot.is_text_or_list() {
        return prop_oneof![string_text(), list(&slot.variants[1].kind(), author)].boxed();
    }
    if slot.is_union() {
        let variants = slot
            .variants
            .iter()
            .map(|variant| one(&variant.kind(), author));
        return proptest::strategy::Union::new(variants).boxed();
    }
    if field.is_map() {
        let values = one(
            &field
                .kind()
                .as_message()
                .unwrap()
                .map_entry_value_field()
                .kind(),
            author,
        );
        // Names that differ as text could still be the same name, one of them escaped.
        let map = btree_map(any::<u16>(), (string_text(), values), LIST);
        return map
            .prop_map(|map| {
                let members = map
                    .into_iter()
                    .map(|(n, (name, value))| format!("\"{n} {}:{value}", after_quote(&name)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            })
            .boxed();
    }
    if field.is_list() {
        let list = list(&field.kind(), author);
        return if slot.allows_one() {
            prop_oneof![list, string_text()].boxed()
        } else {
            list
        };
    }
    one(&field.kind(), author)
}

fn one(kind: &Kind, author: Author) -> BoxedStrategy<String> {
    match kind {
        Kind::Message(message) => match law::list_of(message) {
            Some(field) => list(&field.kind(), author),
            None => document(message, author),
        },
        Kind::Bool => any::<bool>().prop_map(|value| value.to_string()).boxed(),
        Kind::Enum(kind) => {
            let words = law::words(kind.name())
                .iter()
                .map(|(word, _)| format!("{word:?}"))
                .collect::<Vec<_>>();
            prop::sample::select(words).boxed()
        }
        Kind::String => string_text(),
        Kind::Int32 => integer_text(int32().prop_map(i64::from).boxed()),
        Kind::Int64 => integer_text(int64()),
        Kind::Double => double_text(),
        Kind::Bytes => vec(any::<u8>(), LIST)
            .prop_map(|bytes| format!("{bytes:?}"))
            .boxed(),
        kind => panic!("the contract has no {kind:?}"),
    }
}

fn list(kind: &Kind, author: Author) -> BoxedStrategy<String> {
    vec(one(kind, author), LIST)
        .prop_map(|values| format!("[{}]", values.join(", ")))
        .boxed()
}

/// What an upstream might say where another type is documented. No objects: one could lack a
/// required member.
fn of_another_type() -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        double_text(),
        string_text(),
        Just("true".to_owned()),
        Just("-1e999".to_owned())
    ];
    let list = vec(scalar.clone(), LIST).prop_map(|values| format!("[ {} ]", values.join(" ,")));
    prop_oneof![scalar, list].boxed()
}

fn any_json() -> BoxedStrategy<String> {
    let big = any::<u128>().prop_map(|number| format!("{number}{number}"));
    let words = vec![
        "null",
        "true",
        "false",
        "{}",
        "[ ]",
        "-0",
        "1.00",
        "1E+2",
        "9007199254740993",
        "\"\\ud800\"",
    ];
    let leaf = prop_oneof![
        string_text(),
        double_text(),
        big,
        prop::sample::select(words).prop_map(str::to_owned)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let members = vec((string_text(), inner.clone()), 1..3);
        prop_oneof![
            vec(inner, 1..3).prop_map(|values| format!("[{}]", values.join(",\n"))),
            members.prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(name, value)| format!("{name} :{value}"));
                format!("{{ {}}}", members.collect::<Vec<_>>().join(", "))
            })
        ]
    })
    .boxed()
}

fn after_quote(text: &str) -> &str {
    text.strip_prefix('"').unwrap()
}

/// A string as JSON, any of its letters escaped or not.
fn string_text() -> BoxedStrategy<String> {
    let letter = (character(), any::<bool>()).prop_map(|(letter, is_escaped)| {
        if is_escaped {
            let mut units = [0; 2];
            return letter
                .encode_utf16(&mut units)
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
        }
        let quoted = serde_json::to_string(&letter).unwrap();
        after_quote(&quoted).strip_suffix('"').unwrap().to_owned()
    });
    vec(letter, 0..6)
        .prop_map(|letters| format!("\"{}\"", letters.concat()))
        .boxed()
}

/// An integer in the ways that JSON has for one: `100`, `100.0`, `100e0`.
fn integer_text(integer: BoxedStrategy<i64>) -> BoxedStrategy<String> {
    (integer, 0..6)
        .prop_map(|(integer, form)| match form {
            0 if integer.unsigned_abs() <= 1 << 53 => format!("{integer}.0"),
            1 if integer.unsigned_abs() <= 1 << 53 => format!("{integer}E+0"),
            _ => integer.to_string(),
        })
        .boxed()
}

fn double_text() -> BoxedStrategy<String> {
    (double(), 0..3)
        .prop_map(|(number, form)| match form {
            0 => format!("{number:e}"),
            1 => format!("{number:?}"),
            _ => format!("{number:.1}")
                .chars()
                .take(40)
                .collect::<String>()
                .trim_end_matches('.')
                .to_owned(),
        })
        .boxed()
}

// What both make use of

fn character() -> BoxedStrategy<char> {
    let special = [
        '\0',
        '\n',
        '\r',
        '"',
        '\\',
        '/',
        '\u{7f}',
        '\u{2028}',
        '\u{feff}',
        '\u{ffff}',
        '🦀',
        '\u{10ffff}',
    ];
    prop_oneof![3 => (0x20_u8..0x7f).prop_map(char::from), 2 => any::<char>(), 1 => prop::sample::select(special.to_vec())]
        .boxed()
}

fn string() -> BoxedStrategy<String> {
    vec(character(), 0..6)
        .prop_map(|letters| letters.into_iter().collect())
        .boxed()
}

fn int32() -> BoxedStrategy<i32> {
    prop_oneof![any::<i32>(), -1..3, Just(i32::MIN), Just(i32::MAX)].boxed()
}

fn int64() -> BoxedStrategy<i64> {
    prop_oneof![
        any::<i64>(),
        -1_i64..3,
        Just(i64::MIN),
        Just(i64::MAX),
        Just((1 << 53) + 1)
    ]
    .boxed()
}

fn double() -> BoxedStrategy<f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let edges = [
        -0.0,
        1.0,
        1e-12,
        0.1,
        5e-324,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        9_007_199_254_740_994.0,
        1e22,
    ];
    // As sampling parameters and log probabilities are: of moderate size, with all 53 bits used.
    let moderate = -20.0..20.0_f64;
    let all = POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO;
    prop_oneof![2 => moderate, 2 => all, 1 => prop::sample::select(edges.to_vec())].boxed()
}

// Messages

fn made_up(message: &MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
    let slots = law::slots(message);
    let names: Vec<String> = slots
        .iter()
        .map(|slot| slot.name.clone())
        .chain(["object".to_owned()])
        .collect();
    let mut fields: Vec<BoxedStrategy<Option<(FieldDescriptor, Value)>>> = slots
        .iter()
        .map(|slot| {
            let variants = slot.variants.iter().map(|field| {
                let owner = field.clone();
                field_value(slot, field)
                    .prop_map(move |value| Some((owner.clone(), value)))
                    .boxed()
            });
            let set = proptest::strategy::Union::new(variants);
            // JSON text that must be there is never empty.
            let is_required = slot.is_json_text() && slot.is_plain();
            if is_required {
                set.boxed()
            } else {
                prop_oneof![Just(None), set].boxed()
            }
        })
        .collect();
    if let Some(extra) = message.get_field_by_name("extra") {
        let map = hash_map(string(), any_json(), 0..2).prop_map(move |map| {
            let map = map.into_iter().filter(|(name, _)| !names.contains(name));
            let map: HashMap<_, _> = map
                .map(|(name, text)| (MapKey::String(name), Value::String(text)))
                .collect();
            Some((extra.clone(), Value::Map(map)))
        });
        fields.push(map.boxed());
    }
    let message = message.clone();
    fields
        .prop_map(move |fields| {
            let mut made_up = DynamicMessage::new(message.clone());
            for (field, value) in fields.into_iter().flatten() {
                made_up.set_field(&field, value);
            }
            complete(&mut made_up);
            made_up
        })
        .boxed()
}

/// Sets what an answer that was read always has.
fn complete(message: &mut DynamicMessage) {
    let descriptor = message.descriptor();
    let inside = match descriptor.name() {
        "ChatChoice" => "message",
        "ChatChunkChoice" => "delta",
        "Usage" | "EmbeddingUsage" => {
            return message.set_field_by_name("total_tokens", Value::I32(7));
        }
        _ => return,
    };
    let Value::Message(mut value) = message.get_field_by_name(inside).unwrap().into_owned() else {
        panic!()
    };
    if inside == "message" && value.get_field_by_name("role").unwrap().as_str() == Some("") {
        value.set_field_by_name("role", Value::String("assistant".to_owned()));
    }
    message.set_field_by_name(inside, Value::Message(value));
}

fn field_value(slot: &Slot, field: &FieldDescriptor) -> BoxedStrategy<Value> {
    if slot.is_json_text() {
        // Null is how JSON says unset, and of an object an empty list.
        let is_object = law::OBJECT_TEXT.contains(&slot.path.as_str());
        let is_unset = move |text: &str| text == "null" || is_object && text == "[ ]";
        let text = any_json().prop_map(move |text| {
            if is_unset(&text) {
                "[null]".to_owned()
            } else {
                text
            }
        });
        return text.prop_map(Value::String).boxed();
    }
    if field.is_map() {
        let values = proto_value(
            &field
                .kind()
                .as_message()
                .unwrap()
                .map_entry_value_field()
                .kind(),
        );
        let map = hash_map(string().prop_map(MapKey::String), values, LIST);
        return map.prop_map(Value::Map).boxed();
    }
    if field.is_list() {
        return vec(proto_value(&field.kind()), LIST)
            .prop_map(Value::List)
            .boxed();
    }
    match field.kind() {
        // An empty list says nothing about what it would hold; it is read as one of strings.
        Kind::Message(message) if ["TokenList", "TokenLists"].contains(&message.name()) => {
            list_message(&message, 1..3)
        }
        kind => proto_value(&kind),
    }
}

fn list_message(message: &MessageDescriptor, size: Range<usize>) -> BoxedStrategy<Value> {
    let (message, field) = (message.clone(), law::list_of(message).unwrap());
    vec(proto_value(&field.kind()), size)
        .prop_map(move |values| {
            let mut list = DynamicMessage::new(message.clone());
            list.set_field(&field, Value::List(values));
            Value::Message(list)
        })
        .boxed()
}

fn proto_value(kind: &Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Message(message) if law::list_of(message).is_some() => list_message(message, LIST),
        Kind::Message(message) => made_up(message).prop_map(Value::Message).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Enum(kind) => {
            let numbers = law::words(kind.name())
                .iter()
                .map(|(_, number)| *number)
                .chain([0])
                .collect::<Vec<_>>();
            prop::sample::select(numbers)
                .prop_map(Value::EnumNumber)
                .boxed()
        }
        Kind::String => string().prop_map(Value::String).boxed(),
        Kind::Int32 => int32().prop_map(Value::I32).boxed(),
        Kind::Int64 => int64().prop_map(Value::I64).boxed(),
        Kind::Double => double().prop_map(Value::F64).boxed(),
        Kind::Bytes => vec(any::<u8>(), LIST)
            .prop_map(|bytes| Value::Bytes(bytes.into()))
            .boxed(),
        kind => panic!("the contract has no {kind:?}"),
    }
}
