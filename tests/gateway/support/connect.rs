//! Connect, written from its specification: bare messages and envelopes with JSON or protobuf, and
//! errors in its JSON.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use featherwire::proto::DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use tonic::{Code, Status};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).unwrap());

/// The codes of Connect, with their HTTP statuses.
pub const CODES: [(&str, u16, Code); 16] = [
    ("canceled", 499, Code::Cancelled),
    ("unknown", 500, Code::Unknown),
    ("invalid_argument", 400, Code::InvalidArgument),
    ("deadline_exceeded", 504, Code::DeadlineExceeded),
    ("not_found", 404, Code::NotFound),
    ("already_exists", 409, Code::AlreadyExists),
    ("permission_denied", 403, Code::PermissionDenied),
    ("resource_exhausted", 429, Code::ResourceExhausted),
    ("failed_precondition", 400, Code::FailedPrecondition),
    ("aborted", 409, Code::Aborted),
    ("out_of_range", 400, Code::OutOfRange),
    ("unimplemented", 501, Code::Unimplemented),
    ("internal", 500, Code::Internal),
    ("unavailable", 503, Code::Unavailable),
    ("data_loss", 500, Code::DataLoss),
    ("unauthenticated", 401, Code::Unauthenticated),
];

/// The message `name` of `featherwire.v1`.
pub fn descriptor(name: &str) -> MessageDescriptor {
    let name = format!("featherwire.v1.{name}");
    POOL.get_message_by_name(&name).unwrap()
}

/// The stock JSON of a message.
pub fn to_json(name: &str, message: &impl Message) -> Value {
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor(name), &*bytes).unwrap();
    serde_json::to_value(message).unwrap()
}

/// The message with this stock JSON.
pub fn from_json<M: Message + Default>(name: &str, json: &[u8]) -> M {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(descriptor(name), &mut deserializer).unwrap();
    deserializer.end().unwrap();
    message.transcode_to().unwrap()
}

/// An envelope with these flags.
pub fn envelope(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], message].concat()
}

/// The envelopes of a stream, each with its flags, and the end. Asserts that the end is the last
/// one, and the only one.
#[track_caller]
pub fn envelopes(body: &[u8]) -> (Vec<Vec<u8>>, Value) {
    let (mut rest, mut messages) = (body, Vec::new());
    loop {
        let (prefix, after) = rest.split_first_chunk::<5>().expect("a stream has an end");
        let [flags, a, b, c, d] = *prefix;
        let (message, after) = after.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        rest = after;
        match flags {
            0 => messages.push(message.to_vec()),
            2 => {
                assert!(rest.is_empty(), "something follows the end");
                return (messages, serde_json::from_slice(message).unwrap());
            }
            flags => panic!("an envelope with the flags {flags}"),
        }
    }
}

/// The status of gRPC with what an error of Connect says. Asserts its form.
#[track_caller]
pub fn status(error: &Value) -> Status {
    let members = error.as_object().unwrap();
    assert!(
        members
            .keys()
            .all(|name| ["code", "message", "details"].contains(&&**name)),
        "{error}"
    );
    let name = error["code"].as_str().unwrap();
    let (_, _, code) = CODES.into_iter().find(|(own, ..)| *own == name).unwrap();
    let detail = |detail: &Value| prost_types::Any {
        type_url: format!("type.googleapis.com/{}", detail["type"].as_str().unwrap()),
        // Without padding.
        value: BASE64_STANDARD_NO_PAD
            .decode(detail["value"].as_str().unwrap())
            .unwrap(),
    };
    let details = error["details"].as_array().into_iter().flatten();
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    let details = tonic_types::pb::Status {
        code: code.into(),
        message: message.clone(),
        details: details.map(detail).collect(),
    };
    Status::with_details(code, message, details.encode_to_vec().into())
}
