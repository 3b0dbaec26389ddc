//! The JSON members of a message, and the fields of each.

use std::sync::LazyLock;

use featherwire::proto::DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::tables::*;

pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).unwrap());
    &POOL
}

pub fn descriptor(message: &str) -> MessageDescriptor {
    let found = pool().get_message_by_name(&format!("featherwire.v1.{message}"));
    found.unwrap_or_else(|| panic!("{message}: no such message"))
}

/// The fields of one JSON member: a single field, the variants of a oneof, or a text and a list.
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

    /// Whether the member's absence is the same as zero.
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

/// The JSON members of a message that have a field. `object` has none.
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

/// The only field of a message that is a list in JSON.
pub fn list_of(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let is_list =
        ["StringList", "TokenList", "TokenLists", "FloatVector"].contains(&message.name());
    is_list.then(|| message.fields().next().unwrap())
}
