//! Featherless over HTTP: [`client`] asks, `transport` sends what it asks and `connect` connects to
//! where it is, [`catalogue`] remembers which models there are, [`events`] is a streamed answer
//! coming up, [`Begun`] one whose first piece has come, [`Whole`] one that comes at once, [`sse`]
//! splits its bytes.
//!
//! Nothing here knows who asks, or by which door; nothing here knows axum or tonic's server.

mod address;
mod begun;
mod body;
pub mod catalogue;
mod choices;
pub mod client;
mod clocks;
mod connect;
pub mod events;
mod failures;
mod finish;
mod identity;
mod informational;
mod names;
mod retry;
pub mod sse;
mod transport;
mod whole;

pub use begun::Begun;
pub use catalogue::Catalogue;
pub use client::{ANSWER_BYTES_MAX, Ask, Client, Reply};
pub use events::{Chunk, Events};
pub use failures::too_large;
pub use finish::{End, FAILURE_MEMBERS};
pub use identity::{Identity, Named};
pub use names::Names;
pub use retry::Tries;
pub use whole::{Whole, has_items};
