//! Finds the start and the end of each message in a gRPC body. Before each message there are five
//! bytes: a flag that says whether the message is compressed, and the length of the message. The
//! scanner does not read the messages and copies nothing.

/// The number of bytes before each message.
pub(super) const PREFIX_BYTES: usize = 5;

/// The bytes before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// 1 if the message is compressed, 0 if not. No other value is valid in a request.
    pub(super) flag: u8,
    /// The length of the message, in bytes, as it is sent.
    pub(super) length: usize,
}

impl Prefix {
    /// Decodes a prefix.
    pub(super) fn read([flag, a, b, c, d]: [u8; PREFIX_BYTES]) -> Self {
        Self {
            flag,
            length: usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX),
        }
    }

    /// Encodes a prefix. A length beyond what it can hold becomes the largest one.
    pub(super) fn write(self) -> [u8; PREFIX_BYTES] {
        let [a, b, c, d] = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        [self.flag, a, b, c, d]
    }
}

/// A boundary in a stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// A message starts: its prefix has arrived completely.
    Start(Prefix),
    /// A message has ended. An empty one ends as soon as it starts.
    End,
}

/// The scanner, and its position in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageScanner {
    /// In a prefix, of which `received` bytes have arrived. With 0 it is between two messages.
    InPrefix {
        bytes: [u8; PREFIX_BYTES],
        received: usize,
    },
    /// In a message, of which `missing` bytes have not arrived.
    InMessage { length: usize, missing: usize },
}

impl Default for MessageScanner {
    fn default() -> Self {
        Self::InPrefix {
            bytes: [0; PREFIX_BYTES],
            received: 0,
        }
    }
}

impl MessageScanner {
    /// Scans up to the next boundary, and removes the scanned bytes from `data`. `None` if `data`
    /// has no further boundary; then `data` is empty.
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Option<Boundary> {
        match self {
            Self::InPrefix { bytes, received } => {
                let space = bytes.get_mut(*received..).unwrap_or_default();
                let taken = take(data, space.len());
                space
                    .iter_mut()
                    .zip(taken)
                    .for_each(|(space, byte)| *space = *byte);
                *received += taken.len();
                if *received < PREFIX_BYTES {
                    return None;
                }
                let prefix = Prefix::read(*bytes);
                *self = Self::InMessage {
                    length: prefix.length,
                    missing: prefix.length,
                };
                Some(Boundary::Start(prefix))
            }
            Self::InMessage { missing, .. } => {
                *missing -= take(data, *missing).len();
                if *missing > 0 {
                    return None;
                }
                *self = Self::default();
                Some(Boundary::End)
            }
        }
    }

    /// Whether the position is between two messages.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self, Self::InPrefix { received: 0, .. })
    }
}

/// Removes the first bytes from `data`: at most `most` bytes.
fn take<'a>(data: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, left) = data.split_at(most.min(data.len()));
    *data = left;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flag: u8, length: usize) -> Vec<u8> {
        let prefix = [&[flag], &u32::try_from(length).unwrap().to_be_bytes()[..]].concat();
        [prefix, vec![7; length]].concat()
    }

    /// The boundaries, each with the number of bytes before it, and the state of the scanner at the
    /// end.
    fn boundaries(stream: &[u8], piece: usize) -> (Vec<(usize, Boundary)>, MessageScanner) {
        let (mut scanner, mut boundaries, mut read) = (MessageScanner::default(), Vec::new(), 0);
        for mut data in stream.chunks(piece) {
            let end = read + data.len();
            while let Some(boundary) = scanner.next(&mut data) {
                boundaries.push((end - data.len(), boundary));
            }
            assert!(
                data.is_empty(),
                "all bytes are read if there is no further boundary"
            );
            read = end;
        }
        (boundaries, scanner)
    }

    #[test]
    fn boundaries_are_the_same_however_the_stream_is_split() {
        let stream = [
            message(0, 3),
            message(1, 0),
            message(0, 0),
            message(9, 300),
            message(0, 2),
        ]
        .concat();
        let start = |flag, length| Boundary::Start(Prefix { flag, length });
        let expected = [
            (5, start(0, 3)),
            (8, Boundary::End),
            (13, start(1, 0)),
            (13, Boundary::End),
            (18, start(0, 0)),
            (18, Boundary::End),
            (23, start(9, 300)),
            (323, Boundary::End),
            (328, start(0, 2)),
            (330, Boundary::End),
        ];
        for piece in 1..=stream.len() {
            assert_eq!(
                boundaries(&stream, piece),
                (expected.to_vec(), MessageScanner::default()),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn an_interrupted_stream_is_between_messages_only_after_a_complete_message() {
        let stream = [message(0, 3), message(0, 0)].concat();
        for length in 0..=stream.len() {
            for piece in 1..=length.max(1) {
                let (boundaries, scanner) = boundaries(&stream[..length], piece);
                let is_complete = [0, 8, 13].contains(&length);
                assert_eq!(
                    scanner.is_between_messages(),
                    is_complete,
                    "{length} bytes in pieces of {piece}: {boundaries:?}"
                );
            }
        }
    }

    #[test]
    fn a_prefix_with_the_largest_length_allocates_nothing() {
        let (boundaries, scanner) = boundaries(&[0, 255, 255, 255, 255, 1, 2], 3);
        let length = u32::MAX as usize;
        assert_eq!(
            boundaries,
            [(5, Boundary::Start(Prefix { flag: 0, length }))]
        );
        assert_eq!(
            scanner,
            MessageScanner::InMessage {
                length,
                missing: length - 2
            }
        );
    }
}
