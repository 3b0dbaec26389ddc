//! What a script consists of: what happens to a request, and to its connection.

use serde_json::Value;

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A JSON answer with this status.
    Json(u16, Value),
    /// An answer with this head (status and headers, without the empty line) and body.
    Raw(String, Vec<u8>),
    /// A stream of these events, and then its clean end.
    Events(Vec<String>),
    /// A stream of these events, and then nothing until the other side closes.
    EventsThenSilence(Vec<String>),
    /// A stream of these events, and then the connection is reset.
    EventsThenCut(Vec<String>),
    /// Nothing at all until the other side closes.
    Silence,
    /// The connection is closed without a word.
    HangUp,
    /// Exactly these bytes, and then this.
    Wire(Vec<u8>, Then),
}

/// What follows the bytes of a [`Reply::Wire`].
#[derive(Clone, Debug)]
pub enum Then {
    /// The next request on the same connection.
    Next,
    /// Nothing until the other side closes.
    Silence,
    /// The connection is closed.
    Close,
    /// The connection is reset: RST, not FIN.
    Reset,
    /// These bytes again and again, a little apart, until the other side closes.
    Repeat(Vec<u8>),
}
