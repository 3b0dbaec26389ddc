//! The rules for the messages of a gRPC request, checked by their scanner.

use super::message_scanner::{Boundary, MessageScanner, Prefix};
use crate::{
    coding::Coding,
    error::{Error, ErrorCode, Result},
};

/// The rules for the messages of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageRules {
    /// The largest message, in bytes, before and after decompression.
    pub(super) bytes_max: usize,
    /// The advice in the error for a larger message.
    pub(super) advice: &'static str,
    /// Whether the request is a stream of messages. If not, it has exactly one.
    pub(super) is_stream: bool,
    /// The coding of compressed messages, if the request names one.
    pub(super) coding: Option<Coding>,
}

impl MessageRules {
    /// The error for a message that is too large. `what` describes its size.
    pub(super) fn too_large(self, what: &str) -> Error {
        let Self {
            bytes_max, advice, ..
        } = self;
        let message = format!("The request {what}, and {bytes_max} are allowed: {advice}");
        Error::new(ErrorCode::RequestTooLarge, message).with_limit(bytes_max)
    }
}

/// Checks the messages of one request.
#[derive(Debug)]
pub(super) struct MessageValidator {
    rules: MessageRules,
    scanner: MessageScanner,
    /// The number of messages that have arrived completely.
    messages: usize,
}

impl MessageValidator {
    pub(super) fn new(rules: MessageRules) -> Self {
        Self {
            rules,
            scanner: MessageScanner::default(),
            messages: 0,
        }
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// [`Kind::WrongFrame`](crate::error::Kind::WrongFrame) for an invalid prefix;
    /// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod), which is `UNIMPLEMENTED`, for a
    /// message too many; [`Kind::TooLarge`](crate::error::Kind::TooLarge) for a message beyond the limit.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<()> {
        while let Some(boundary) = self.scanner.next(&mut data) {
            match boundary {
                Boundary::Start(prefix) => self.begin(prefix)?,
                Boundary::End => self.messages += 1,
            }
        }
        Ok(())
    }

    fn begin(&self, Prefix { flag, length }: Prefix) -> Result<()> {
        if self.messages > 0 && !self.rules.is_stream {
            let message =
                "The request has more than one message, but this method takes exactly one";
            return Err(Error::new(ErrorCode::TooManyMessages, message));
        }
        if flag > 1 {
            let message = format!(
                "A message's first byte is {flag}: it must be 0, or 1 if the message is compressed"
            );
            return Err(Error::new(ErrorCode::InvalidFrame, message));
        }
        if flag == 1 && self.rules.coding.is_none() {
            let message = "A message is marked as compressed, but no header names its coding: send \
                           grpc-encoding (Connect: connect-content-encoding), or the byte 0";
            return Err(Error::new(ErrorCode::InvalidFrame, message));
        }
        if length > self.rules.bytes_max {
            return Err(self.rules.too_large(&format!("takes {length} bytes")));
        }
        Ok(())
    }

    /// Checks the end of the request.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) if a message is incomplete;
    /// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod) without a message.
    pub(super) fn end(&self) -> Result<()> {
        match self.scanner {
            MessageScanner::InPrefix { received: 0, .. }
                if self.messages == 0 && !self.rules.is_stream =>
            {
                let message = "The request has no message, but this method takes exactly one: \
                               send at least an empty one";
                Err(Error::new(ErrorCode::MissingMessage, message))
            }
            MessageScanner::InPrefix { received: 0, .. } => Ok(()),
            MessageScanner::InPrefix { .. } => {
                let message = "The request ends within the five bytes before a message (a flag \
                               and the length of the message)";
                Err(Error::new(ErrorCode::IncompleteBody, message))
            }
            MessageScanner::InMessage { length, missing } => {
                let received = length - missing;
                let message = format!(
                    "The request ends within a message: {length} bytes are announced, and \
                     {received} have arrived"
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

    /// The code of the error for a request. Asserts that it is the same for every split into
    /// pieces.
    fn code(is_stream: bool, has_coding: bool, data: &[u8]) -> Option<String> {
        let read = |pieces: usize| {
            let coding = has_coding.then_some(Coding::Gzip);
            let mut validator = MessageValidator::new(MessageRules {
                bytes_max: 8,
                advice: "",
                is_stream,
                coding,
            });
            let read = data
                .chunks(pieces)
                .try_for_each(|piece| validator.read(piece));
            read.and_then(|()| validator.end())
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
    fn a_request_is_checked_message_by_message_however_it_is_split() {
        let (one, empty) = (frame(0, b"abc"), frame(0, b""));
        for (what, is_stream, has_coding, data, expected) in [
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
                code(is_stream, has_coding, &data).as_deref(),
                expected,
                "{what}"
            );
        }
    }
}
