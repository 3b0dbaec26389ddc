//! The contract as Rust: messages, services, the descriptor set and the OpenAPI document, all
//! written by `build.rs` from `proto/`. [`bounds`] limits the memory of decoding for both codecs,
//! [`codec`] is the codec for protobuf, and [`ranges`] checks the numbers of requests. The other
//! codec, [`json`](crate::json), depends on this module, and this module does not depend on it.

pub mod bounds;
pub mod codec;
mod precheck;
pub mod range;
pub mod ranges;

/// The messages and services of `featherwire.v1`.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::pedantic,
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "generated"
    )]
    #![allow(
        missing_docs,
        rustdoc::all,
        reason = "generated; the contract's comments are written for protobuf"
    )]

    tonic::include_proto!("featherwire.v1");
    include!(concat!(env!("OUT_DIR"), "/bounds.rs"));
    // The messages that have no JSON codec.
    include!(concat!(
        env!("OUT_DIR"),
        "/json_of_protobuf/featherwire.v1.rs"
    ));
}

/// The administration.
pub mod admin {
    /// The messages and services of `featherwire.admin.v1`. They have no JSON codec: their JSON is
    /// that of protobuf, by their descriptors.
    pub mod v1 {
        #![allow(
            clippy::all,
            clippy::pedantic,
            clippy::unwrap_used,
            clippy::indexing_slicing,
            reason = "generated"
        )]
        #![allow(
            missing_docs,
            rustdoc::all,
            reason = "generated; the contract's comments are written for protobuf"
        )]

        include!(concat!(
            env!("OUT_DIR"),
            "/json_of_protobuf/featherwire.admin.v1.rs"
        ));
    }
}

/// Every file of the contract, source comments and options included, as an encoded
/// `FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// What the contract says of the REST door, as an OpenAPI 3.1 document in JSON.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));
