//! The parts of a script: the reply to a request, and the action on its connection.

use serde_json::Value;

/// The reply to one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A JSON answer with this status.
    Json(u16, Value),
    /// An answer with this head (status and headers, without the empty line) and body.
    Raw(String, Vec<u8>),
    /// A stream of these events with a clean end.
    Events(Vec<String>),
    /// A stream of these events, and then nothing until the other side closes.
    EventsThenSilence(Vec<String>),
    /// A stream of these events, and then the connection is reset.
    EventsThenCut(Vec<String>),
    /// Nothing at all until the other side closes.
    Silence,
    /// The connection is closed without an answer.
    HangUp,
    /// Exactly these bytes, and then an action.
    Wire(Vec<u8>, Then),
}

/// The action after the bytes of a [`Reply::Wire`].
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
    /// These bytes repeatedly, with short pauses, until the other side closes.
    Repeat(Vec<u8>),
}
