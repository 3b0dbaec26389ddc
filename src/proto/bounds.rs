//! How much memory decoding a message may take: the same for both codecs, which count it while they
//! decode.
//!
//! Text takes as much memory as bytes on the wire, so the limit of the body is enough. Structure
//! takes many times its bytes: an empty message is two bytes of protobuf or three of JSON, and
//! hundreds in memory. So each list has a limit, in `build/limits.rs`, and all structure of one
//! document has a budget.

use std::fmt;

/// The most memory that the structure of a document may take, as a multiple of its bytes. With the
/// text, the factor is 8.
const STRUCTURE_TIMES: usize = 7;

/// What the structure of even the shortest document may take, in bytes. It is small enough for as
/// many short requests as the gateway accepts at once.
const STRUCTURE_BYTES_MIN: usize = 8 * 1024 * 1024;

/// What the structure of even the longest document may take, in bytes.
pub const STRUCTURE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How deep JSON text may be nested where the contract has no type for it. Engines read it with
/// recursive parsers.
pub const DEPTH_MAX: usize = 128;

/// What the structure of a document of this length may take in memory, in bytes.
pub(crate) fn structure_bytes_max(document_bytes: usize) -> usize {
    document_bytes
        .saturating_mul(STRUCTURE_TIMES)
        .clamp(STRUCTURE_BYTES_MIN, STRUCTURE_BYTES_MAX)
}

/// How long a list may be.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The most elements.
    pub max: usize,
    /// What they are called, in the plural.
    pub of: &'static str,
}

/// What is too large in a document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TooLarge {
    /// A list is too long.
    List(Limit),
    /// The structure takes more than this many bytes.
    Structure(usize),
    /// JSON text is nested too deeply.
    Depth,
    /// A field that can't be repeated came more often than this within one message.
    Repeated(usize),
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(Limit { max, of }) => write!(f, "at most {max} {of}; send fewer"),
            Self::Structure(bytes) => write!(
                f,
                "at most {bytes} bytes of memory for the objects and lists in a body of this \
                 length; send fewer of them"
            ),
            Self::Depth => write!(
                f,
                "at most {DEPTH_MAX} levels of lists and objects within each other; send fewer"
            ),
            Self::Repeated(max) => write!(f, "at most {max} times in one message; send it once"),
        }
    }
}

/// A message whose memory can be calculated before it is decoded.
pub trait HasLayout {
    /// The sizes and limits that the calculation needs.
    const LAYOUT: &'static Layout;
}

/// A message as the protobuf codec sees it before it is decoded.
#[derive(Debug)]
pub struct Layout {
    /// The size of the message itself.
    pub bytes: usize,
    /// The fields that can take more memory than they take on the wire. All others can't.
    pub fields: &'static [Field],
}

/// The largest number of fields in one layout. `build/layouts.rs` checks it.
pub const FIELDS_MAX: usize = 24;

/// A field that can take more memory than it takes on the wire.
#[derive(Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// The limit of elements. `None` if the field is not repeated.
    pub limit: Option<Limit>,
    /// What it is.
    pub kind: Kind,
}

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string, or bytes.
    Text,
    /// Integers of this size in memory, which may be packed.
    Varints(usize),
    /// Doubles, which may be packed.
    Doubles,
    /// A message, boxed or not.
    Message {
        /// The layout of this message.
        layout: &'static Layout,
        /// Whether the message has its own allocation.
        is_boxed: bool,
    },
    /// A map with such entries.
    Map(Entry),
}

/// What an entry of a map takes, in bytes, besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The first, for which a node is made.
    pub first: usize,
    /// Each of the others.
    pub next: usize,
}

/// The entries of a `BTreeMap` from strings to such values.
pub const fn entry<V>() -> Entry {
    /// A node has room for this many entries, and is half full at least.
    const CAPACITY: usize = 11;
    const NODE_BYTES: usize = 16;
    let pair = size_of::<String>() + size_of::<V>();
    Entry {
        first: NODE_BYTES + CAPACITY * pair,
        next: 2 * pair + NODE_BYTES,
    }
}
