//! Compressed messages: those of requests are decompressed, and large answers are compressed for
//! callers who accept it.
//!
//! Tonic has this too. But it decompresses a message at once, on a worker of the runtime, and its
//! errors lack the gateway's codes. The REST door needs the same codings anyway.

pub(super) mod encoding;
pub(super) mod request;
pub(crate) mod response;
