//! The law of losslessness: JSON that goes through a message comes out with the same meaning,
//! except for the changes of form that the tables name one by one.
//!
//! It is written a second time on purpose, from the documents and not from `build/json_codec.rs`:
//! an unintended rule in the codec breaks it.

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

/// What came out of the codec, as a tree.
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

/// What the law requires for this text, as a tree.
pub fn demanded(message: &str, text: &str, author: Author) -> Tree {
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

/// Holds one document to the law.
///
/// # Errors
/// The JSON that came out, and how the two differ.
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
    let (wanted, got) = (demanded(message, text, author), tree(message, &out));
    if wanted == got {
        Ok(())
    } else {
        Err(format!(
            "{}\nin:  {text}\nout: {out}",
            difference(&wanted, &got, "$")
        ))
    }
}
