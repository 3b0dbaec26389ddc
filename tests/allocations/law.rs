//! The memory that decoding takes, in both codecs.

use std::fmt::Debug;

use featherwire::{
    json,
    proto::{
        bounds::HasLayout,
        codec,
        v1::{
            Concurrency, CreateChatCompletionRequest, CreateChatCompletionResponse,
            CreateCompletionRequest, CreateCompletionResponse, CreateEmbeddingRequest,
            CreateEmbeddingResponse, ListModelsResponse, StreamChatCompletionResponse,
            StreamCompletionResponse, TokenizeRequest, TokenizeResponse,
        },
    },
};
use serde::de::DeserializeOwned;

/// The largest sum of all allocations, as a multiple of the input's bytes. (The limit of 8 in the
/// gateway is for memory that is in use at the same time.) Lists are moved while they grow, and an
/// invalid document is decoded a second time to find the path of the problem.
const TIMES_MAX: usize = 48;

/// The bytes that may be allocated for any document, even a short one.
const BYTES_MIN: usize = 48 * 1024 * 1024;

/// Decoding any input takes a bounded multiple of its length. `allocated` returns the bytes of all
/// allocations so far.
pub fn memory(input: &[u8], allocated: fn() -> usize) {
    requests(input, allocated);
    answers(input, allocated);
}

/// The same for requests only.
pub fn requests(input: &[u8], allocated: fn() -> usize) {
    request::<CreateChatCompletionRequest>(input, allocated);
    request::<CreateCompletionRequest>(input, allocated);
    request::<CreateEmbeddingRequest>(input, allocated);
    request::<TokenizeRequest>(input, allocated);
}

/// The same for answers only.
pub fn answers(input: &[u8], allocated: fn() -> usize) {
    answer::<CreateChatCompletionResponse>(input, allocated);
    answer::<CreateCompletionResponse>(input, allocated);
    answer::<CreateEmbeddingResponse>(input, allocated);
    answer::<StreamChatCompletionResponse>(input, allocated);
    answer::<StreamCompletionResponse>(input, allocated);
    answer::<ListModelsResponse>(input, allocated);
    answer::<TokenizeResponse>(input, allocated);
    answer::<Concurrency>(input, allocated);
}

/// The same for protobuf only.
pub fn protobufs(input: &[u8], allocated: fn() -> usize) {
    protobuf::<CreateChatCompletionRequest>(input, allocated);
    protobuf::<CreateCompletionRequest>(input, allocated);
    protobuf::<CreateEmbeddingRequest>(input, allocated);
    protobuf::<CreateChatCompletionResponse>(input, allocated);
    protobuf::<StreamChatCompletionResponse>(input, allocated);
    protobuf::<ListModelsResponse>(input, allocated);
}

trait Message: prost::Message + Default + Debug + HasLayout + DeserializeOwned {}
impl<M: prost::Message + Default + Debug + HasLayout + DeserializeOwned> Message for M {}

fn request<M: Message>(input: &[u8], allocated: fn() -> usize) {
    bounded::<M>("JSON", input, allocated, || {
        drop(json::decode_request::<M>(input))
    });
    protobuf::<M>(input, allocated);
}

fn answer<M: Message>(input: &[u8], allocated: fn() -> usize) {
    bounded::<M>("JSON", input, allocated, || {
        drop(json::decode_answer::<M>(input))
    });
    protobuf::<M>(input, allocated);
}

fn protobuf<M: Message>(input: &[u8], allocated: fn() -> usize) {
    bounded::<M>("protobuf", input, allocated, || {
        drop(codec::decode::<M>(input))
    });
}

fn bounded<M>(codec: &str, input: &[u8], allocated: fn() -> usize, decode: impl FnOnce()) {
    let before = allocated();
    decode();
    let bytes = allocated() - before;
    let (kind, length) = (std::any::type_name::<M>(), input.len());
    let max = TIMES_MAX * length + BYTES_MIN;
    assert!(
        bytes <= max,
        "{kind} from {length} bytes of {codec} took {bytes} bytes, and {max} are allowed"
    );
}
