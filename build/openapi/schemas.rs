//! The list of schemas: one for each message with JSON and each direction of the message.
//!
//! The codec has different rules for requests and answers. In a request, any optional member may be
//! null, and few members are required. In an answer, an unset member is absent or null, depending
//! on the member. Therefore a message that occurs in both has two schemas, and the one of answers
//! is named `…InAnswer`.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type,
};
use serde_json::Value;

use super::names::{reference, type_name};
use crate::{
    comments::Comments,
    json_rules::WITHOUT_JSON,
    limits::RANGES,
    request_rules::{CLOSED_STRINGS, NOT_EMPTY},
};

/// The direction of a message: to the upstream or to the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Request,
    Answer,
}

/// The schemas of all messages, and the references between them.
pub struct Schemas<'a> {
    pub(super) messages: BTreeMap<&'a str, &'a DescriptorProto>,
    pub(super) enums: BTreeMap<&'a str, &'a EnumDescriptorProto>,
    pub(super) comments: &'a Comments,
    pub(super) directions: BTreeSet<(&'a str, Direction)>,
}

impl<'a> Schemas<'a> {
    /// The schemas of these messages and of all messages that they contain.
    pub fn new(
        contract: &'a FileDescriptorSet,
        comments: &'a Comments,
        roots: &[(String, Direction)],
    ) -> Self {
        let messages = contract.file.iter().flat_map(|file| &file.message_type);
        let messages: BTreeMap<_, _> = messages.map(|message| (message.name(), message)).collect();
        let enums = contract.file.iter().flat_map(|file| &file.enum_type);
        let enums = enums.map(|kind| (kind.name(), kind)).collect();
        let mut schemas = Self {
            messages,
            enums,
            comments,
            directions: BTreeSet::new(),
        };
        for (root, direction) in roots {
            schemas.collect(root, *direction);
        }
        schemas.assert_limits();
        schemas
    }

    fn collect(&mut self, name: &str, direction: Direction) {
        // The entries of a map are not messages of the document.
        let Some((name, message)) = self
            .messages
            .get_key_value(name)
            .map(|(name, message)| (*name, *message))
        else {
            return;
        };
        if WITHOUT_JSON.contains(&name) || !self.directions.insert((name, direction)) {
            return;
        }
        for field in message
            .field
            .iter()
            .filter(|field| field.r#type() == Type::Message)
        {
            self.collect(type_name(field), direction);
        }
    }

    /// Checks the limits: the path of a limit that is not a member of a request is misspelt.
    fn assert_limits(&self) {
        let paths = RANGES
            .iter()
            .map(|(path, _)| *path)
            .chain(CLOSED_STRINGS.iter().map(|(path, _)| *path));
        for path in paths.chain(NOT_EMPTY.iter().map(|(path, _)| *path)) {
            let (message, field) = path.split_once('.').unwrap();
            let is_there = self.directions.contains(&(message, Direction::Request))
                && self.messages[message]
                    .field
                    .iter()
                    .any(|other| other.name() == field);
            assert!(is_there, "limit of {path}: not a member of a request");
        }
    }

    /// A reference to the schema of a message in this direction.
    pub fn reference(&self, message: &str, direction: Direction) -> Value {
        reference("schemas", &self.name(message, direction))
    }

    pub(super) fn name(&self, message: &str, direction: Direction) -> String {
        let is_shared = direction == Direction::Answer
            && self.directions.contains(&(message, Direction::Request));
        if is_shared {
            format!("{message}InAnswer")
        } else {
            message.to_owned()
        }
    }
}
