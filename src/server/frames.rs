//! The frames of gRPC requests: five bytes that say whether a message is compressed and how long it is, and the message.

use crate::{
    coding::Coding,
    error::{Error, Kind, Result},
};

/// The bytes before each message.
pub(super) const PREFIX_BYTES: usize = 5;

/// What a request may consist of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The largest message, in bytes, as it is sent and when it is decompressed.
    pub(super) bytes_max: usize,
    /// What to do about a larger one.
    pub(super) advice: &'static str,
    /// Whether the method takes a stream of messages. Others take exactly one.
    pub(super) is_stream: bool,
    /// How the request compresses messages, if it does.
    pub(super) coding: Option<Coding>,
}

impl Rules {
    /// The message is larger than is allowed. `what` says how large.
    pub(super) fn too_large(self, what: &str) -> Error {
        let Self { bytes_max, advice, .. } = self;
        let message = format!("The request {what}, and {bytes_max} are allowed: {advice}");
        Error::new(Kind::TooLarge, "request_too_large", message).with_limit(bytes_max)
    }
}

/// How far a request's frames have been read.
#[derive(Debug)]
pub(super) struct Frames {
    rules: Rules,
    /// The bytes so far of a frame's prefix; all of them while its message is read.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// How many bytes of the message are still to come.
    missing: usize,
    /// How many messages have come whole.
    messages: usize,
}

/// What a frame's prefix says.
pub(super) fn announced(prefix: [u8; PREFIX_BYTES]) -> (u8, usize) {
    let [flag, a, b, c, d] = prefix;
    (flag, usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX))
}

impl Frames {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, prefix: [0; PREFIX_BYTES], prefix_bytes: 0, missing: 0, messages: 0 }
    }

    /// Reads on. Of a message only the length is looked at.
    ///
    /// # Errors
    /// Invalid for a frame that can't be one, TooLarge, by its prefix.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<()> {
        while let Some((first, rest)) = data.split_first() {
            if let Some(byte) = self.prefix.get_mut(self.prefix_bytes) {
                *byte = *first;
                self.prefix_bytes += 1;
                data = rest;
                if self.prefix_bytes == PREFIX_BYTES {
                    self.begin()?;
                }
            } else {
                let taken = self.missing.min(data.len());
                data = data.get(taken..).unwrap_or_default();
                self.missing -= taken;
            }
            if self.prefix_bytes == PREFIX_BYTES && self.missing == 0 {
                self.prefix_bytes = 0;
                self.messages += 1;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.messages > 0 && !self.rules.is_stream {
            let message = "The request has more than one message, and this method takes exactly one";
            return Err(Error::new(Kind::Invalid, "too_many_messages", message));
        }
        let (flag, length) = announced(self.prefix);
        if flag > 1 {
            let message = format!("A message's first byte is {flag}: it must be 0, or 1 if the message is compressed");
            return Err(Error::new(Kind::Invalid, "invalid_frame", message));
        }
        if flag == 1 && self.rules.coding.is_none() {
            let message = "A message is said to be compressed, and no grpc-encoding says how: send that, or the byte 0";
            return Err(Error::new(Kind::Invalid, "invalid_frame", message));
        }
        if length > self.rules.bytes_max {
            return Err(self.rules.too_large(&format!("takes {length} bytes")));
        }
        self.missing = length;
        Ok(())
    }

    /// The request has ended.
    ///
    /// # Errors
    /// Invalid, if that was too early.
    pub(super) fn end(&self) -> Result<()> {
        if self.prefix_bytes > 0 && self.prefix_bytes < PREFIX_BYTES {
            let message =
                "The request ends within the five bytes before a message, which are a flag and the message's length";
            return Err(Error::new(Kind::Invalid, "incomplete_body", message));
        }
        if self.prefix_bytes > 0 {
            let (_, length) = announced(self.prefix);
            let came = length - self.missing;
            let message = format!("The request ends within a message: {length} bytes are announced, and {came} came");
            return Err(Error::new(Kind::Invalid, "incomplete_body", message));
        }
        if self.messages == 0 && !self.rules.is_stream {
            let message = "The request has no message, and this method takes exactly one: send an empty one at least";
            return Err(Error::new(Kind::Invalid, "missing_message", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag], &length[..], message].concat()
    }

    /// The code of what is wrong with a request, which is the same however it is cut into pieces.
    fn code(is_stream: bool, is_coded: bool, data: &[u8]) -> Option<String> {
        let read = |pieces: usize| {
            let coding = is_coded.then_some(Coding::Gzip);
            let mut frames = Frames::new(Rules { bytes_max: 8, advice: "", is_stream, coding });
            let read = data.chunks(pieces).try_for_each(|piece| frames.read(piece));
            read.and_then(|()| frames.end()).err().map(|error| error.code().to_owned())
        };
        let codes: Vec<_> = (1..=data.len().max(1)).map(read).collect();
        assert!(codes.iter().all(|code| *code == codes[0]), "{data:?}: {codes:?}");
        codes.into_iter().next().flatten()
    }

    #[test]
    fn a_request_is_read_frame_by_frame_however_it_is_cut() {
        let (one, empty) = (frame(0, b"abc"), frame(0, b""));
        for (what, is_stream, is_coded, data, expected) in [
            ("one", false, false, one.clone(), None),
            ("an empty one", false, false, empty.clone(), None),
            ("none", false, false, vec![], Some("missing_message")),
            ("two", false, false, [&one[..], &one].concat(), Some("too_many_messages")),
            ("two empty ones", false, false, [&empty[..], &empty].concat(), Some("too_many_messages")),
            ("none on a stream", true, false, vec![], None),
            ("three on a stream", true, false, [&one[..], &empty, &one].concat(), None),
            ("half of the second", true, false, [&one[..], &one[..6]].concat(), Some("incomplete_body")),
            ("half a prefix", true, false, one[..3].to_vec(), Some("incomplete_body")),
            ("a prefix alone", false, false, one[..5].to_vec(), Some("incomplete_body")),
            ("all but a byte", false, false, one[..7].to_vec(), Some("incomplete_body")),
            ("a byte after it", false, false, [&one[..], &[0]].concat(), Some("incomplete_body")),
            ("flag 2", false, true, frame(2, b"abc"), Some("invalid_frame")),
            ("trailers of gRPC-Web", false, true, frame(128, b"abc"), Some("invalid_frame")),
            ("compressed", false, true, frame(1, b"abc"), None),
            ("compressed without a coding", false, false, frame(1, b"abc"), Some("invalid_frame")),
            ("the largest", false, false, frame(0, &[0; 8]), None),
            ("too large", false, false, frame(0, &[0; 9]), Some("request_too_large")),
            ("too large at the end", true, false, [&one[..], &frame(0, &[0; 9])].concat(), Some("request_too_large")),
            ("4 GiB", false, false, vec![0, 255, 255, 255, 255], Some("request_too_large")),
        ] {
            assert_eq!(code(is_stream, is_coded, &data).as_deref(), expected, "{what}");
        }
    }
}
