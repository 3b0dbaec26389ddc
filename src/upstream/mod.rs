//! Featherless over HTTP: [`client`] asks, [`catalogue`] remembers which models there are, [`events`] is a streamed answer
//! coming up, [`Begun`] one whose first piece has come, [`sse`] splits its bytes.
//!
//! Nothing here knows who asks, or by which door; nothing here knows axum or tonic's server.

mod begun;
pub mod catalogue;
pub mod client;
mod clocks;
pub mod events;
mod failures;
mod names;
mod retry;
pub mod sse;

pub use begun::Begun;
pub use catalogue::Catalogue;
pub use client::{ANSWER_BYTES_MAX, Ask, Client, Reply, Whole};
pub use events::{Chunk, Events};
pub use names::Names;
