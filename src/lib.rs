pub mod config;
pub mod emulator;
pub mod error;
pub mod json;
pub mod proto;
pub mod upstream;
