//! Protobuf as tonic's codec: prost's codec, with a limit on the memory that decoding may take. A
//! message is checked before it is decoded, because prost decodes lists of any length.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::{bounds::HasLayout, precheck};
use crate::{error::Error, offload};

/// The first buffer of an answer, in bytes: enough for several chunks, and for most complete answers.
/// It grows. Tonic's default is 8 KiB, twice for each call.
const ENCODE_BUFFER_BYTES: usize = 2 * 1024;

/// After this many bytes of chunks that were ready together, they are sent.
const YIELD_BYTES: usize = 32 * 1024;

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + HasLayout + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(ENCODE_BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Decodes what is within its bounds.
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default + HasLayout> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Shares tonic's buffer.
        let encoded = buffer.copy_to_bytes(buffer.remaining());
        offload::run_in_place(encoded.len(), || decode(&encoded)).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        // The buffer takes the length of the message when that is known. Tonic divides by this number
        // where it decompresses a message; here, messages are decompressed before tonic has them.
        BufferSettings::new(0, YIELD_BYTES)
    }
}

/// Decodes a message.
///
/// # Errors
/// The message is too large: the error is `INVALID_ARGUMENT` with the field's path. For bytes that
/// are not protobuf, the error is tonic's, and the gRPC door adds the details.
pub fn decode<M: Message + Default + HasLayout>(encoded: &[u8]) -> Result<M, Status> {
    precheck::check(M::LAYOUT, encoded).map_err(|problem| match problem.path.as_str() {
        "" => Error::invalid("request", problem.what),
        _ => Error::invalid(problem.path, problem.what),
    })?;
    M::decode(encoded).map_err(|error| Status::internal(error.to_string()))
}
