//! Requests that several tests share.

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub const MODEL: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";

/// A request with one user message.
pub fn prompt(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

/// The members that a gRPC caller sends in `extra`: their names, and their JSON text.
pub fn extra(members: &[(&str, &str)]) -> BTreeMap<String, String> {
    members
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}
