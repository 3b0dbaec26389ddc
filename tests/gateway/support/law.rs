//! The law of lossless conversion: JSON that is decoded to a message and encoded again has the same
//! meaning, except for the changes of form in the tables.
//!
//! The rules are written a second time on purpose, from the documentation and not from
//! `build/json_codec.rs`, so that an unintended rule in the codec is found.

use serde::de::DeserializeOwned;

mod reader;
mod slots;
mod tables;
mod tree;

pub use reader::members;
use reader::{Reader, object};
pub use slots::*;
pub use tables::{CONSTANT_OBJECT, INDEX, OBJECT_TEXT, words};
pub use tree::{Author, Tree, difference};

/// The output of the codec, as a tree.
pub fn tree(message: &str, text: &str) -> Tree {
    let message = descriptor(message);
    object(
        text,
        &message,
        &Reader {
            author: Author::Upstream,
            expects: false,
        },
        "",
    )
    .expect("an object")
}

/// The expected output for this text, as a tree.
pub fn expected_tree(message: &str, text: &str, author: Author) -> Tree {
    let message = descriptor(message);
    object(
        text,
        &message,
        &Reader {
            author,
            expects: true,
        },
        "",
    )
    .expect("an object")
}

/// Checks the law for one document.
///
/// # Errors
/// The JSON output, and the first difference.
pub fn hold<M>(message: &str, text: &str, author: Author) -> Result<(), String>
where
    M: prost::Message + Default + PartialEq + std::fmt::Debug + serde::Serialize + DeserializeOwned,
{
    use featherwire::json;
    let decoded: M = match author {
        Author::Caller => json::decode_request(text.as_bytes()),
        Author::Upstream => json::decode_answer(text.as_bytes()),
    }
    .map_err(|bad| format!("decode: {bad}\n{text}"))?;
    let travelled =
        M::decode(&*decoded.encode_to_vec()).map_err(|bad| format!("protobuf: {bad}"))?;
    if travelled != decoded {
        return Err(format!(
            "protobuf changed the message: {decoded:?}\n{travelled:?}"
        ));
    }
    let mut out = Vec::new();
    match author {
        Author::Caller => json::encode_request(&travelled).map(|bytes| out = bytes),
        Author::Upstream => json::encode_answer(&travelled, &mut out),
    }
    .map_err(|bad| format!("encode: {bad}\n{text}"))?;
    let out = String::from_utf8(out).unwrap();
    let (expected, got) = (expected_tree(message, text, author), tree(message, &out));
    if expected == got {
        Ok(())
    } else {
        Err(format!(
            "{}\nin:  {text}\nout: {out}",
            difference(&expected, &got, "$")
        ))
    }
}
