//! What the tests share: the real server in this process, a peer as its upstream, and a client for
//! each door.

pub mod door;
pub mod frames;
pub mod gateway;
pub mod law;
pub mod models;
pub mod poll;
pub mod program;
pub mod raw;
pub mod rest;
pub mod scripted;

pub use door::Door;
pub use gateway::{Emulator, Gateway};
pub use scripted::{Reply, Scripted};

/// How long a test waits for an event. It only ends a test that hangs: no event takes this long,
/// even on a busy machine.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Moves the clock of this test's runtime forward. It isn't paused afterwards, and sockets go on in
/// real time.
pub async fn passes(time: std::time::Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub const MODEL: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";

/// A request with one user message.
pub fn prompt(model: &str, text: &str) -> serde_json::Value {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": text}]})
}
