//! Finds the heads (request line and headers) of HTTP/1 requests in the bytes of a connection.
//! Hyper parses them, but does not report two things. The first is that a part of a head has
//! arrived, for which there is a timeout. The second is that a request has two lengths,
//! `Content-Length` and `Transfer-Encoding`: hyper ignores the first, but a proxy in front of the
//! gateway may ignore the second (RFC 9112, section 6.3).

use memchr::memchr;

/// The rest of the HTTP/2 preface, after its first line.
const PREFACE_REST_BYTES: u64 = "\r\nSM\r\n\r\n".len() as u64;

/// The largest number of bytes of a line that are kept. The searched names are shorter, and hyper
/// limits the size of heads.
const LINE_BYTES_MAX: usize = 256;

/// The parser of one connection.
#[derive(Debug, Default)]
pub(super) struct Http1Framing {
    state: State,
    /// The part of the current line that has arrived.
    line: Vec<u8>,
    /// The number of heads that have arrived completely.
    heads: u64,
    conflict: Option<u64>,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body(u64),
    ChunkSize,
    /// The rest of a chunk, with its line end.
    Chunk(u64),
    Trailers,
    /// The rest of the HTTP/2 preface.
    Preface(u64),
    /// The parser has stopped: the connection is not HTTP/1, or will be closed.
    Off,
}

/// The relevant headers of the head that is arriving.
#[derive(Debug, Default)]
struct Head {
    has_begun: bool,
    length: Option<u64>,
    has_transfer_encoding: bool,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

impl Http1Framing {
    /// Whether a head is incomplete: the first head or the HTTP/2 preface has not arrived
    /// completely, or a part of a later head has arrived.
    pub(super) fn is_in_head(&self) -> bool {
        match &self.state {
            State::Head(head) => self.heads == 0 || head.has_begun || !self.line.is_empty(),
            State::Preface(_) => true,
            _ => false,
        }
    }

    /// The number, from 0, of the first request with two lengths. Requests after it are not parsed.
    pub(super) fn conflict(&self) -> Option<u64> {
        self.conflict
    }

    /// Parses the next bytes.
    pub(super) fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            data = match &mut self.state {
                State::Off => return,
                State::Body(left) | State::Chunk(left) | State::Preface(left) => {
                    let taken = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = match self.state {
                            State::Preface(_) => State::Off,
                            State::Chunk(_) => State::ChunkSize,
                            _ => State::default(),
                        };
                    }
                    data.get(taken..).unwrap_or_default()
                }
                State::Head(_) | State::ChunkSize | State::Trailers => self.feed_line(data),
            }
        }
    }

    /// Parses bytes up to the end of the line, and returns the rest.
    fn feed_line<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', data);
        let (piece, rest) = match end {
            Some(end) => (
                data.get(..end).unwrap_or_default(),
                data.get(end + 1..).unwrap_or_default(),
            ),
            None => (data, &[][..]),
        };
        if end.is_some() && self.line.is_empty() {
            self.line_ended(piece);
            return rest;
        }
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.line_ended(&line);
        }
        rest
    }

    fn line_ended(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.state = match std::mem::replace(&mut self.state, State::Off) {
            State::Head(head) => self.head_line(head, line),
            State::ChunkSize => match chunk_size(line) {
                Some(0) => State::Trailers,
                Some(size) => State::Chunk(size.saturating_add("\r\n".len() as u64)),
                None => State::Off,
            },
            State::Trailers if line.is_empty() => State::default(),
            state => state,
        };
    }

    fn head_line(&mut self, mut head: Head, line: &[u8]) -> State {
        match (line, head.has_begun) {
            // An empty line before a request is ignored.
            ([], false) => State::Head(head),
            (b"PRI * HTTP/2.0", false) if self.heads == 0 => State::Preface(PREFACE_REST_BYTES),
            (_, false) => State::Head(Head {
                has_begun: true,
                ..head
            }),
            ([], true) => self.head_ended(&head),
            (line, true) => {
                head.parse_header(line);
                State::Head(head)
            }
        }
    }

    fn head_ended(&mut self, head: &Head) -> State {
        if head.has_transfer_encoding && head.length.is_some() {
            self.conflict = Some(self.heads);
            return State::Off;
        }
        self.heads += 1;
        match head.length {
            _ if head.has_transfer_encoding => State::ChunkSize,
            Some(length) if length > 0 => State::Body(length),
            _ => State::default(),
        }
    }
}

impl Head {
    fn parse_header(&mut self, line: &[u8]) {
        let Some((name, value)) = memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            return;
        };
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.has_transfer_encoding = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            // Hyper refuses a length that is not a number.
            self.length = Some(
                std::str::from_utf8(digits)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(0),
            );
        }
    }
}

/// The size in the line before a chunk. Extensions after it are ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `check` after these bytes, fed in pieces of every size.
    fn after(bytes: &str, check: impl Fn(&Http1Framing)) {
        for size in 1..=bytes.len() {
            let mut framing = Http1Framing::default();
            bytes
                .as_bytes()
                .chunks(size)
                .for_each(|piece| framing.feed(piece));
            check(&framing);
        }
    }

    const PLAIN: &str = "POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: \
                           chunked\r\n\r\n3;x=y\r\nabc\r\n1A\r\ncontent-length: \
                           5\r\n\r\nabcde\r\n0\r\ncontent-length: 1\r\n\r\n";
    const BOTH: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 5\r\n\r\n";

    #[test]
    fn heads_are_found_after_bodies_of_every_framing() {
        let many = [
            PLAIN,
            CHUNKED,
            "\r\n",
            PLAIN,
            "GET / HTTP/1.1\r\n\r\n",
            CHUNKED,
        ]
        .concat();
        after(&many, |framing| {
            assert_eq!(
                (framing.heads, framing.conflict()),
                (5, None),
                "{framing:?}"
            );
            assert!(!framing.is_in_head(), "{framing:?}");
        });
    }

    #[test]
    fn a_request_with_two_lengths_is_reported_by_its_number() {
        for both in [
            BOTH,
            "POST / HTTP/1.1\ncontent-length: 5\r\ntransfer-encoding: gzip\r\n\r\n",
        ] {
            after(&[PLAIN, CHUNKED, both, PLAIN].concat(), |framing| {
                assert_eq!(framing.conflict(), Some(2))
            });
        }
    }

    #[test]
    fn an_incomplete_head_is_reported_until_it_ends() {
        for part in [
            "\r\n",
            "G",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        ] {
            after(part, |framing| assert!(framing.is_in_head(), "{part:?}"));
        }
        after(&format!("{PLAIN}GET /"), |framing| {
            assert!(framing.is_in_head())
        });
        for whole in [
            PLAIN,
            CHUNKED,
            "GET / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nx\r\n",
        ] {
            let mut framing = Http1Framing::default();
            framing.feed(whole.as_bytes());
            assert!(!framing.is_in_head(), "{whole:?}");
        }
    }

    #[test]
    fn long_lines_and_random_bytes_take_bounded_memory() {
        let mut framing = Http1Framing::default();
        (0..1000).for_each(|_| framing.feed(&[b'x'; 1000]));
        assert!(framing.line.len() <= LINE_BYTES_MAX && framing.is_in_head());
        framing.feed(b"\n\n");
        assert!(!framing.is_in_head());
    }
}
