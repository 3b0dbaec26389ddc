//! Generates protobuf messages from their descriptors.

use std::{collections::HashMap, ops::Range};

use proptest::{
    collection::{hash_map, vec},
    prelude::*,
};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use crate::support::law::{self, Slot};

use super::{json::any_json, scalars::*};

pub fn generated(message: &MessageDescriptor) -> BoxedStrategy<DynamicMessage> {
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
            // Required JSON text is never empty.
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
            let mut generated = DynamicMessage::new(message.clone());
            for (field, value) in fields.into_iter().flatten() {
                generated.set_field(&field, value);
            }
            complete(&mut generated);
            generated
        })
        .boxed()
}

/// Sets the fields that a decoded answer always has.
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
        // In JSON, null means unset, and so does an empty list in place of an object.
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
        // The element type of an empty list is unknown. It is decoded as a list of strings.
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
        Kind::Message(message) => generated(message).prop_map(Value::Message).boxed(),
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
