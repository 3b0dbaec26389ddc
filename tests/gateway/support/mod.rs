//! What the stories need: the real server in process, a peer for its upstream side, and a client
//! for each door.

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

/// How long a story waits for an event. It ends a story that hangs, and says nothing about speed:
/// no event takes this long, however busy the machine is.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Time passes for all that runs in this test: the clock is moved, not stopped, and sockets go on
/// in real time.
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
