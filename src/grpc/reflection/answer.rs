//! Responses of the reflection protocol. Its two versions have the same messages in packages of
//! different names.

use bytes::{BufMut, Bytes};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tonic::{
    Status,
    codec::{Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use super::index::Index;
use crate::error::{Error, ErrorCode};

/// The field of `ServerReflectionResponse` with the files.
const FILES_FIELD: u32 = 4;

/// The longest name that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 256;

/// One response. Files are not part of the message, so that they are copied only once, when it is
/// encoded.
#[derive(Debug)]
pub(super) struct Answer {
    message: ServerReflectionResponse,
    files: Option<Vec<Bytes>>,
}

impl Answer {
    /// The response to a request. An unknown name is an error in the response, and the stream stays
    /// open.
    pub(super) fn to(question: ServerReflectionRequest, index: &Index) -> Self {
        let found = find(&question, index);
        let (message_response, files) = match found {
            Ok(Found::Files(files)) => (None, Some(files.to_vec())),
            Ok(Found::Message(message)) => (Some(message), None),
            Err(error) => (
                Some(MessageResponse::ErrorResponse(error_response(&error))),
                None,
            ),
        };
        let valid_host = question.host.clone();
        Self {
            message: ServerReflectionResponse {
                valid_host,
                original_request: Some(question),
                message_response,
            },
            files,
        }
    }

    fn encode(&self, buffer: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        self.message.encode(buffer)?;
        let Some(files) = &self.files else {
            return Ok(());
        };
        encode_key(FILES_FIELD, WireType::LengthDelimited, buffer);
        encode_varint(files.iter().map(|file| file.len() as u64).sum(), buffer);
        // The encoded entry of each file is also a valid field of `FileDescriptorResponse`, because
        // both fields have the same number.
        files.iter().for_each(|file| buffer.put_slice(file));
        Ok(())
    }
}

enum Found<'a> {
    Files(&'a [Bytes]),
    Message(MessageResponse),
}

fn find<'a>(question: &ServerReflectionRequest, index: &'a Index) -> Result<Found<'a>, Error> {
    let files = |found: Option<&'a [Bytes]>, what: &str, name: &str| {
        found.map(Found::Files).ok_or_else(|| not_found(what, name))
    };
    match &question.message_request {
        Some(MessageRequest::FileByFilename(name)) => files(index.file(name), "file", name),
        Some(MessageRequest::FileContainingSymbol(name)) => {
            files(index.symbol(without_dot(name)), "symbol", name)
        }
        Some(MessageRequest::FileContainingExtension(extension)) => {
            let (message, number) = (&extension.containing_type, extension.extension_number);
            let found = index.extension(without_dot(message), number);
            files(
                found,
                &format!("extension {number} of the message"),
                message,
            )
        }
        Some(MessageRequest::AllExtensionNumbersOfType(name)) => {
            let numbers = index
                .extensions(without_dot(name))
                .ok_or_else(|| not_found("message", name))?;
            let base_type_name = without_dot(name).to_owned();
            let response = ExtensionNumberResponse {
                base_type_name,
                extension_number: numbers.collect(),
            };
            Ok(Found::Message(
                MessageResponse::AllExtensionNumbersResponse(response),
            ))
        }
        Some(MessageRequest::ListServices(_)) => {
            let service = index
                .services()
                .iter()
                .map(|name| ServiceResponse { name: name.clone() })
                .collect();
            Ok(Found::Message(MessageResponse::ListServicesResponse(
                ListServiceResponse { service },
            )))
        }
        None => {
            let message = "The request is empty: set one of file_by_filename, \
                           file_containing_symbol, file_containing_extension, \
                           all_extension_numbers_of_type and list_services";
            Err(Error::new(ErrorCode::InvalidValue, message))
        }
    }
}

/// A full name without its leading dot, which descriptors have.
fn without_dot(name: &str) -> &str {
    name.strip_prefix('.').unwrap_or(name)
}

fn not_found(what: &str, name: &str) -> Error {
    let name: String = name.chars().take(QUOTED_CHARS_MAX).collect();
    let message = format!(
        "There is no {what} {name} here: names are full ones, and list_services lists where to \
         begin"
    );
    Error::new(ErrorCode::NotFound, message)
}

fn error_response(error: &Error) -> ErrorResponse {
    let error_code = i32::from(error.kind().row().grpc);
    ErrorResponse {
        error_code,
        error_message: error.message().to_owned(),
    }
}

/// The codec of requests and responses.
#[derive(Debug, Default)]
pub(super) struct ReflectionCodec;

impl Codec for ReflectionCodec {
    type Encode = Answer;
    type Decode = ServerReflectionRequest;
    type Encoder = Self;
    type Decoder = ProstDecoder<ServerReflectionRequest>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for ReflectionCodec {
    type Item = Answer;
    type Error = Status;

    fn encode(&mut self, answer: Answer, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        answer
            .encode(buffer)
            .map_err(|error| Error::internal(error).into())
    }
}
