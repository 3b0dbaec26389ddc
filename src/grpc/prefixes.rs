//! Reads a stream of gRPC messages for where each begins and ends. Before each message stand five
//! bytes, its prefix: a flag that says whether the message is compressed, and the message's length.
//! Of a message nothing is looked at, and nothing is copied.

/// The bytes before each message.
pub(super) const PREFIX_BYTES: usize = 5;

/// What stands before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// 1 if the message is compressed, 0 if not. No other value means anything in a request.
    pub(super) flag: u8,
    /// The length of the message in bytes, as it is sent.
    pub(super) length: usize,
}

impl Prefix {
    /// The prefix that these bytes are.
    pub(super) fn read([flag, a, b, c, d]: [u8; PREFIX_BYTES]) -> Self {
        Self {
            flag,
            length: usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX),
        }
    }
}

/// What comes next in a stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A message begins: its prefix has come whole.
    Begins(Prefix),
    /// A message has come whole. An empty one has as soon as it begins.
    Ends,
}

/// How far a stream of messages has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefixes {
    /// Within a prefix, of which this many bytes have come. With none it is between two messages.
    InPrefix {
        bytes: [u8; PREFIX_BYTES],
        came: usize,
    },
    /// Within a message, of which this many bytes have yet to come.
    InMessage { length: usize, missing: usize },
}

impl Default for Prefixes {
    fn default() -> Self {
        Self::InPrefix {
            bytes: [0; PREFIX_BYTES],
            came: 0,
        }
    }
}

impl Prefixes {
    /// Reads on, as far as the next mark, and takes what it has read off `data`. None if there is
    /// no mark in what is left; then all of `data` has been read.
    pub(super) fn next(&mut self, data: &mut &[u8]) -> Option<Mark> {
        match self {
            Self::InPrefix { bytes, came } => {
                let space = bytes.get_mut(*came..).unwrap_or_default();
                let taken = take(data, space.len());
                space
                    .iter_mut()
                    .zip(taken)
                    .for_each(|(space, byte)| *space = *byte);
                *came += taken.len();
                if *came < PREFIX_BYTES {
                    return None;
                }
                let prefix = Prefix::read(*bytes);
                *self = Self::InMessage {
                    length: prefix.length,
                    missing: prefix.length,
                };
                Some(Mark::Begins(prefix))
            }
            Self::InMessage { missing, .. } => {
                *missing -= take(data, *missing).len();
                if *missing > 0 {
                    return None;
                }
                *self = Self::default();
                Some(Mark::Ends)
            }
        }
    }

    /// Whether all that has come are whole messages.
    pub(super) fn is_between(&self) -> bool {
        matches!(self, Self::InPrefix { came: 0, .. })
    }
}

/// Takes the first bytes off `data`: `most` of them, or all if there are fewer.
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

    /// The marks, each with the byte of the stream behind which it is seen; and where the reader
    /// stands in the end.
    fn marks(stream: &[u8], piece: usize) -> (Vec<(usize, Mark)>, Prefixes) {
        let (mut prefixes, mut marks, mut read) = (Prefixes::default(), Vec::new(), 0);
        for mut data in stream.chunks(piece) {
            let end = read + data.len();
            while let Some(mark) = prefixes.next(&mut data) {
                marks.push((end - data.len(), mark));
            }
            assert!(data.is_empty(), "without a mark everything has been read");
            read = end;
        }
        (marks, prefixes)
    }

    #[test]
    fn each_message_begins_and_ends_where_it_does_however_the_stream_is_cut() {
        let stream = [
            message(0, 3),
            message(1, 0),
            message(0, 0),
            message(9, 300),
            message(0, 2),
        ]
        .concat();
        let begins = |flag, length| Mark::Begins(Prefix { flag, length });
        let expected = [
            (5, begins(0, 3)),
            (8, Mark::Ends),
            (13, begins(1, 0)),
            (13, Mark::Ends),
            (18, begins(0, 0)),
            (18, Mark::Ends),
            (23, begins(9, 300)),
            (323, Mark::Ends),
            (328, begins(0, 2)),
            (330, Mark::Ends),
        ];
        for piece in 1..=stream.len() {
            assert_eq!(
                marks(&stream, piece),
                (expected.to_vec(), Prefixes::default()),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_between_two_messages_only_after_a_whole_one() {
        let stream = [message(0, 3), message(0, 0)].concat();
        for length in 0..=stream.len() {
            for piece in 1..=length.max(1) {
                let (marks, prefixes) = marks(&stream[..length], piece);
                let is_whole = [0, 8, 13].contains(&length);
                assert_eq!(
                    prefixes.is_between(),
                    is_whole,
                    "{length} bytes in pieces of {piece}: {marks:?}"
                );
            }
        }
    }

    #[test]
    fn the_longest_message_that_can_be_announced_is_only_announced() {
        let (marks, prefixes) = marks(&[0, 255, 255, 255, 255, 1, 2], 3);
        let length = u32::MAX as usize;
        assert_eq!(marks, [(5, Mark::Begins(Prefix { flag: 0, length }))]);
        assert_eq!(
            prefixes,
            Prefixes::InMessage {
                length,
                missing: length - 2
            }
        );
    }
}
