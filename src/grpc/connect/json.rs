//! The stock JSON of protobuf, by the descriptors of the contract. Members that a message does not
//! have are ignored, as other servers of Connect do it, so that a newer client can call an older
//! gateway.

use std::{collections::HashMap, sync::OnceLock};

use bytes::{Buf, Bytes};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};
use serde_json::{error::Category, value::RawValue};
use serde_path_to_error::{Path, Segment, Track};

use crate::{
    error::{Error, ErrorCode, Result},
    grpc::{descriptor_set, message_scanner::PREFIX_BYTES},
    proto::bounds::{TooLarge, structure_bytes_max},
};

/// What an object and any other value take in memory at most, in bytes, without their texts. A test
/// compares them with the library's types.
const OBJECT_BYTES: usize = 1280;
const VALUE_BYTES: usize = 128;

/// The longest part of a path that an error names, in characters.
const PATH_CHARS_MAX: usize = 200;

/// All messages and methods.
struct Contract {
    pool: DescriptorPool,
    methods: HashMap<String, MethodDescriptor>,
}

/// They are read when a call needs them for the first time.
fn contract() -> Result<&'static Contract> {
    static CONTRACT: OnceLock<Option<Contract>> = OnceLock::new();
    let contract = CONTRACT.get_or_init(|| {
        let entries = descriptor_set::files().ok()?.into_iter();
        let set = entries.flat_map(|file| file.entry).collect::<Vec<u8>>();
        let pool = DescriptorPool::decode(set.as_slice()).ok()?;
        let methods = pool.services().flat_map(|service| {
            let name = service.full_name().to_owned();
            let methods: Vec<_> = service.methods().collect();
            methods
                .into_iter()
                .map(move |method| (format!("/{name}/{}", method.name()), method))
        });
        let methods = methods.collect();
        Some(Contract { pool, methods })
    });
    contract
        .as_ref()
        .ok_or_else(|| Error::internal("the descriptors of the contract cannot be read"))
}

/// The method with this path, `/package.Service/Method`.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if there is none.
pub(super) fn method(path: &str) -> Result<&'static MethodDescriptor> {
    let method = contract()?.methods.get(path);
    method.ok_or_else(|| Error::internal("a method without a descriptor"))
}

/// The JSON of a detail of an error. `None` if the gateway does not know its type.
pub(super) fn of_detail(name: &str, encoded: &[u8]) -> Option<Box<RawValue>> {
    let message = contract().ok()?.pool.get_message_by_name(name)?;
    let mut json = Vec::new();
    append(&message, encoded, &mut json).ok()?;
    RawValue::from_string(String::from_utf8(json).ok()?).ok()
}

/// Appends the JSON of an encoded message.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if it is not a message of this type.
pub(super) fn append(
    message: &MessageDescriptor,
    encoded: impl Buf,
    out: &mut Vec<u8>,
) -> Result<()> {
    let message = DynamicMessage::decode(message.clone(), encoded).map_err(Error::internal)?;
    message
        .serialize_with_options(
            &mut serde_json::Serializer::new(out),
            &SerializeOptions::new(),
        )
        .map_err(Error::internal)
}

/// The frame of gRPC with the message that `json` describes.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the path of a member that has a wrong value,
/// or with the line and the column of what is not JSON. No error quotes a value.
pub(super) fn decode(message: &MessageDescriptor, json: &[u8]) -> Result<Bytes> {
    check_structure(json)?;
    let (mut track, options) = (
        Track::new(),
        DeserializeOptions::new().deny_unknown_fields(false),
    );
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let decoded = DynamicMessage::deserialize_with_options(message.clone(), tracked, &options);
    let decoded = decoded.and_then(|decoded| deserializer.end().map(|()| decoded));
    let decoded = decoded.map_err(|error| explained(message, &track.path(), &error))?;
    let length = decoded.encoded_len();
    let announced = u32::try_from(length).map_err(Error::internal)?;
    let mut frame = Vec::with_capacity(PREFIX_BYTES + length);
    frame.push(0);
    frame.extend_from_slice(&announced.to_be_bytes());
    decoded.encode_raw(&mut frame);
    Ok(frame.into())
}

/// Refuses a document whose objects and lists would take too much memory. It counts them before
/// they are decoded, and counts unknown members too.
fn check_structure(json: &[u8]) -> Result<()> {
    let max = structure_bytes_max(json.len());
    let (mut bytes, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' => bytes = bytes.saturating_add(OBJECT_BYTES),
            b'[' | b',' => bytes = bytes.saturating_add(VALUE_BYTES),
            _ => {}
        }
    }
    if bytes > max {
        return Err(Error::invalid("request", TooLarge::Structure(max)));
    }
    Ok(())
}

/// What is wrong, and where. The library's own text quotes the value.
fn explained(message: &MessageDescriptor, path: &Path, error: &serde_json::Error) -> Error {
    let place = format!("line {} column {}", error.line(), error.column());
    if error.classify() != Category::Data {
        let message = format!("The message is not JSON, at {place}");
        return Error::new(ErrorCode::InvalidJson, message);
    }
    let shown = || {
        path.to_string()
            .chars()
            .take(PATH_CHARS_MAX)
            .collect::<String>()
    };
    // The library has no kind for this, only a text.
    if error.to_string().starts_with("multiple fields provided") {
        let param = match path.iter().len() {
            0 => "request".to_owned(),
            _ => shown(),
        };
        let problem = format!("two members that exclude each other: give one of them, at {place}");
        return Error::invalid(param, problem);
    }
    if path.iter().len() == 0 {
        let message = format!("The message: expected a JSON object, at {place}");
        return Error::new(ErrorCode::InvalidJson, message);
    }
    let problem = match expected(message, path) {
        Some(expected) => format!("expected {expected}, at {place}"),
        None => format!("a wrong value, at {place}"),
    };
    Error::invalid(shown(), problem)
}

/// What belongs at this path. `None` if the message has no such field.
fn expected(message: &MessageDescriptor, path: &Path) -> Option<String> {
    let mut kind = Kind::Message(message.clone());
    let (mut is_list, mut is_map) = (false, false);
    for segment in path {
        match segment {
            Segment::Seq { .. } => is_list = false,
            Segment::Map { .. } if is_map => is_map = false,
            Segment::Map { key } => {
                let Kind::Message(message) = &kind else {
                    return None;
                };
                let field = message
                    .get_field_by_json_name(key)
                    .or_else(|| message.get_field_by_name(key))?;
                (is_list, is_map) = (field.is_list(), field.is_map());
                kind = match field.kind() {
                    Kind::Message(entry) if is_map => entry.map_entry_value_field().kind(),
                    kind => kind,
                };
            }
            Segment::Enum { .. } | Segment::Unknown => return None,
        }
    }
    Some(match kind {
        _ if is_list => "a list".to_owned(),
        _ if is_map => "an object".to_owned(),
        Kind::Double | Kind::Float => "a number".to_owned(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Int64 | Kind::Sint64 => {
            "a whole number in its range".to_owned()
        }
        Kind::Sfixed64 | Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => {
            "a whole number in its range".to_owned()
        }
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a text".to_owned(),
        Kind::Bytes => "bytes in base64".to_owned(),
        Kind::Enum(names) => {
            let names: Vec<_> = names.values().map(|name| name.name().to_owned()).collect();
            format!("one of {}", names.join(", "))
        }
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => "a time such as 2030-01-31T12:00:00Z".to_owned(),
            "google.protobuf.Duration" => "a duration such as 60s".to_owned(),
            "google.protobuf.FieldMask" => "names of fields with commas between them".to_owned(),
            _ => "an object".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use prost_reflect::Value;

    use super::*;
    use crate::proto::v1::CreateChatCompletionRequest;

    const CHAT: &str = "/featherwire.v1.ChatService/CreateChatCompletion";

    fn decoded(json: &str) -> Result<CreateChatCompletionRequest> {
        let frame = decode(&method(CHAT).unwrap().input(), json.as_bytes())?;
        Ok(CreateChatCompletionRequest::decode(&frame[PREFIX_BYTES..]).unwrap())
    }

    #[test]
    fn every_method_has_a_descriptor_and_every_message_is_json() {
        let contract = contract().unwrap();
        assert!(contract.methods.len() > 20);
        for name in ["/grpc.health.v1.Health/Check", CHAT] {
            assert!(method(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_are_of_either_spelling_and_unknown_members_are_ignored() {
        for name in ["maxTokens", "max_tokens"] {
            let json = format!(r#"{{"model": "m", "{name}": 5, "later": {{"a": [1]}}}}"#);
            let request = decoded(&json).unwrap();
            assert_eq!((&*request.model, request.max_tokens), ("m", Some(5)));
        }
    }

    #[test]
    fn an_error_says_where_it_is_and_quotes_nothing() {
        for (json, problem) in [
            (r#"{"model": 5}"#, "model: expected a text, at line 1"),
            (
                r#"{"messages": {}}"#,
                "messages: expected a list, at line 1",
            ),
            (
                r#"{"messages": [{"role": "user"}, {"role": ["secret"]}]}"#,
                "messages[1].role: expected a text, at line 1",
            ),
            (
                r#"{"maxTokens": "secret"}"#,
                "maxTokens: expected a whole number in its range, at line 1",
            ),
            (r#"{"model": "secret"#, "The message is not JSON, at line 1"),
            (
                r#"{"model": "m"} secret"#,
                "The message is not JSON, at line 1",
            ),
            ("", "The message is not JSON, at line 1 column 0"),
            ("[]", "The message: expected a JSON object, at line 1"),
            (
                r#"{"toolChoice": "a", "toolChoiceObject": {}}"#,
                "request: two members that exclude each other: give one of them, at line 1",
            ),
        ] {
            let error = decoded(json).unwrap_err();
            assert!(error.message().starts_with(problem), "{json}: {error:?}");
            assert!(!error.message().contains("secret"));
        }
    }

    #[test]
    fn structure_has_a_limit() {
        let bomb = format!("{{\"messages\":[{}{{}}]}}", "{},".repeat(400_000));
        let error = decoded(&bomb).unwrap_err();
        assert!(error.message().contains("bytes of memory"), "{error:?}");
        let text = format!(r#"{{"model": "{}"}}"#, "{[,".repeat(400_000));
        assert!(decoded(&text).is_ok(), "text is no structure");
    }

    #[test]
    fn a_value_takes_no_more_memory_than_the_limit_counts() {
        // A node of a map has room for eleven values, each with its number.
        let node = 11 * (size_of::<Value>() + size_of::<u64>()) + 64;
        let object = node + size_of::<DynamicMessage>();
        assert!(object <= OBJECT_BYTES, "{object}");
        assert!(size_of::<Value>() <= VALUE_BYTES);
    }
}
