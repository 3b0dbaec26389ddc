pub mod json;
pub mod proto;
