//! The law of losslessness: JSON that goes through a message comes out with the same meaning,
//! except for the changes of form that the tables name one by one.
//!
//! It is written a second time on purpose, from the documents and not from `build/json_codec.rs`:
//! an unintended rule in the codec breaks it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

mod reader;
mod slots;
mod tables;

pub use reader::members;
use reader::{Reader, object};
pub use slots::*;
pub use tables::{CONSTANT_OBJECT, INDEX, OBJECT_TEXT, words};

/// A JSON value, reduced to what has a meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    /// By its bits, so that -0 is not 0.
    Double(u64),
    Text(String),
    /// Text that the contract doesn't look into: every letter counts.
    Verbatim(String),
    List(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

/// Who wrote the JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Author {
    /// A caller: every known member has its type.
    Caller,
    /// An upstream: a member of another type travels verbatim.
    Upstream,
}

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

/// Where two trees first differ.
pub fn difference(wanted: &Tree, got: &Tree, path: &str) -> String {
    match (wanted, got) {
        (Tree::Object(wanted), Tree::Object(got)) => {
            for (name, value) in wanted {
                match got.get(name) {
                    None => return format!("{path}.{name} is gone: {value:?}"),
                    Some(other) if other != value => {
                        return difference(value, other, &format!("{path}.{name}"));
                    }
                    Some(_) => {}
                }
            }
            let name = got.keys().find(|name| !wanted.contains_key(*name));
            name.map(|name| format!("{path}.{name} is new: {:?}", got[name]))
                .unwrap_or_default()
        }
        (Tree::List(wanted), Tree::List(got)) if wanted.len() == got.len() => {
            let place = wanted
                .iter()
                .zip(got)
                .position(|(wanted, got)| wanted != got);
            place
                .map(|i| difference(&wanted[i], &got[i], &format!("{path}[{i}]")))
                .unwrap_or_default()
        }
        _ => format!("{path}: wanted {wanted:?}, got {got:?}"),
    }
}
