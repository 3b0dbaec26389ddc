//! What the messages of a gRPC request may be, held against their prefixes.

use super::prefixes::{Mark, Prefix, Prefixes};
use crate::{
    coding::Coding,
    error::{Error, ErrorCode, Result},
};

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
        let Self {
            bytes_max, advice, ..
        } = self;
        let message = format!("The request {what}, and {bytes_max} are allowed: {advice}");
        Error::new(ErrorCode::RequestTooLarge, message).with_limit(bytes_max)
    }
}

/// How far a request's messages have been read.
#[derive(Debug)]
pub(super) struct Frames {
    rules: Rules,
    prefixes: Prefixes,
    /// How many messages have come whole.
    messages: usize,
}

impl Frames {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            prefixes: Prefixes::default(),
            messages: 0,
        }
    }

    /// Reads on. Of a message only the length is looked at.
    ///
    /// # Errors
    /// Invalid for a frame that can't be one, TooLarge, by its prefix.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<()> {
        while let Some(mark) = self.prefixes.next(&mut data) {
            match mark {
                Mark::Begins(prefix) => self.begin(prefix)?,
                Mark::Ends => self.messages += 1,
            }
        }
        Ok(())
    }

    fn begin(&self, Prefix { flag, length }: Prefix) -> Result<()> {
        if self.messages > 0 && !self.rules.is_stream {
            let message =
                "The request has more than one message, and this method takes exactly one";
            return Err(Error::new(ErrorCode::TooManyMessages, message));
        }
        if flag > 1 {
            let message = format!(
                "A message's first byte is {flag}: it must be 0, or 1 if the message is compressed"
            );
            return Err(Error::new(ErrorCode::InvalidFrame, message));
        }
        if flag == 1 && self.rules.coding.is_none() {
            let message = "A message is said to be compressed, and no grpc-encoding says how: \
                           send that, or the byte 0";
            return Err(Error::new(ErrorCode::InvalidFrame, message));
        }
        if length > self.rules.bytes_max {
            return Err(self.rules.too_large(&format!("takes {length} bytes")));
        }
        Ok(())
    }

    /// The request has ended.
    ///
    /// # Errors
    /// Invalid, if that was too early.
    pub(super) fn end(&self) -> Result<()> {
        match self.prefixes {
            Prefixes::InPrefix { came: 0, .. } if self.messages == 0 && !self.rules.is_stream => {
                let message = "The request has no message, and this method takes exactly one: \
                               send an empty one at least";
                Err(Error::new(ErrorCode::MissingMessage, message))
            }
            Prefixes::InPrefix { came: 0, .. } => Ok(()),
            Prefixes::InPrefix { .. } => {
                let message = "The request ends within the five bytes before a message, which are \
                               a flag and the message's length";
                Err(Error::new(ErrorCode::IncompleteBody, message))
            }
            Prefixes::InMessage { length, missing } => {
                let came = length - missing;
                let message = format!(
                    "The request ends within a message: {length} bytes are announced, and {came} \
                     came"
                );
                Err(Error::new(ErrorCode::IncompleteBody, message))
            }
        }
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
            let mut frames = Frames::new(Rules {
                bytes_max: 8,
                advice: "",
                is_stream,
                coding,
            });
            let read = data.chunks(pieces).try_for_each(|piece| frames.read(piece));
            read.and_then(|()| frames.end())
                .err()
                .map(|error| error.code().to_owned())
        };
        let codes: Vec<_> = (1..=data.len().max(1)).map(read).collect();
        assert!(
            codes.iter().all(|code| *code == codes[0]),
            "{data:?}: {codes:?}"
        );
        codes.into_iter().next().flatten()
    }

    #[test]
    fn a_request_is_read_frame_by_frame_however_it_is_cut() {
        let (one, empty) = (frame(0, b"abc"), frame(0, b""));
        for (what, is_stream, is_coded, data, expected) in [
            ("one", false, false, one.clone(), None),
            ("an empty one", false, false, empty.clone(), None),
            ("none", false, false, vec![], Some("missing_message")),
            (
                "two",
                false,
                false,
                [&one[..], &one].concat(),
                Some("too_many_messages"),
            ),
            (
                "two empty ones",
                false,
                false,
                [&empty[..], &empty].concat(),
                Some("too_many_messages"),
            ),
            ("none on a stream", true, false, vec![], None),
            (
                "three on a stream",
                true,
                false,
                [&one[..], &empty, &one].concat(),
                None,
            ),
            (
                "half of the second",
                true,
                false,
                [&one[..], &one[..6]].concat(),
                Some("incomplete_body"),
            ),
            (
                "half a prefix",
                true,
                false,
                one[..3].to_vec(),
                Some("incomplete_body"),
            ),
            (
                "a prefix alone",
                false,
                false,
                one[..5].to_vec(),
                Some("incomplete_body"),
            ),
            (
                "all but a byte",
                false,
                false,
                one[..7].to_vec(),
                Some("incomplete_body"),
            ),
            (
                "a byte after it",
                false,
                false,
                [&one[..], &[0]].concat(),
                Some("incomplete_body"),
            ),
            (
                "flag 2",
                false,
                true,
                frame(2, b"abc"),
                Some("invalid_frame"),
            ),
            (
                "trailers of gRPC-Web",
                false,
                true,
                frame(128, b"abc"),
                Some("invalid_frame"),
            ),
            ("compressed", false, true, frame(1, b"abc"), None),
            (
                "compressed without a coding",
                false,
                false,
                frame(1, b"abc"),
                Some("invalid_frame"),
            ),
            ("the largest", false, false, frame(0, &[0; 8]), None),
            (
                "too large",
                false,
                false,
                frame(0, &[0; 9]),
                Some("request_too_large"),
            ),
            (
                "too large at the end",
                true,
                false,
                [&one[..], &frame(0, &[0; 9])].concat(),
                Some("request_too_large"),
            ),
            (
                "4 GiB",
                false,
                false,
                vec![0, 255, 255, 255, 255],
                Some("request_too_large"),
            ),
        ] {
            assert_eq!(
                code(is_stream, is_coded, &data).as_deref(),
                expected,
                "{what}"
            );
        }
    }
}
