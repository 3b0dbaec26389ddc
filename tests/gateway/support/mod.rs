//! Shared parts of the tests: the real server in this process, a scripted upstream, and a client
//! for each door.

pub mod certificates;
pub mod clock;
pub mod collector;
pub mod connect;
pub mod database;
pub mod door;
pub mod frames;
pub mod gate;
pub mod gateway;
pub mod law;
pub mod models;
pub mod poll;
pub mod program;
#[cfg(target_os = "linux")]
pub mod pty;
pub mod raw;
pub mod redis;
pub mod requests;
pub mod rest;
pub mod scripted;

pub use clock::{PATIENCE, advance};
pub use collector::Collector;
pub use database::Database;
pub use door::Door;
pub use gate::Gate;
pub use gateway::{Emulator, Gateway};
pub use requests::{MODEL, prompt};
pub use scripted::{Reply, Scripted};
