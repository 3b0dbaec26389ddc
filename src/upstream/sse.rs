//! Server-sent events, as the HTML standard defines them (§ 9.2.6 "Interpreting an event stream"):
//! bytes in, the data of events out. No I/O and no clock.
//!
//! It differs from the standard in three points. An event at the end of the stream counts even
//! without its empty line, because upstreams end with a bare `data: [DONE]`. An event named `error`
//! counts even without data. A line that begins like a JSON object or list, and not with a field,
//! is returned as a bare event, because some upstreams write errors without `data:`. The only
//! fields that matter are `data`, and `event` with the name `error`.

use std::ops::Range;

/// The default of the longest event, in bytes: the sum of its lines, complete or not.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A buffer that is larger than this, in bytes, is freed after its event.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its data lines, joined by line feeds.
    pub data: &'a [u8],
    /// Whether its name is `error`.
    pub is_error: bool,
    /// Whether it is a line that begins like JSON, without the name of a field. The standard
    /// ignores such a line.
    pub is_bare: bool,
}

/// An event is longer than the limit of the decoder.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a byte stream into events, however it was cut into segments.
///
/// ```
/// use featherwire::upstream::sse::Decoder;
///
/// let mut decoder = Decoder::default();
/// decoder.feed(b"data: one\n\nda");
/// assert_eq!(decoder.next_event().unwrap().unwrap().data, b"one");
/// assert_eq!(decoder.next_event(), Ok(None));
/// decoder.feed(b"ta: two\n\n");
/// assert_eq!(decoder.next_event().unwrap().unwrap().data, b"two");
/// ```
#[derive(Debug)]
pub struct Decoder {
    event_bytes_max: usize,
    buffer: Vec<u8>,
    /// The start of the incomplete line.
    line: usize,
    /// The end of the part of that line that was searched for a line end.
    searched: usize,
    /// The data of the incomplete event.
    data: Data,
    /// The incomplete event is named `error`.
    is_error: bool,
    /// The last segment ended with CR. An LF at the start of the next one belongs to it.
    after_cr: bool,
    /// The byte order mark, if there was one, was skipped.
    begun: bool,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// The position of one line in the buffer. This is the usual case, and copies nothing.
    Line(Range<usize>),
    /// Several lines, joined.
    Lines(Vec<u8>),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }
}

impl Decoder {
    /// A decoder that refuses events longer than `event_bytes_max`.
    pub fn with_limit(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            buffer: Vec::new(),
            line: 0,
            searched: 0,
            data: Data::None,
            is_error: false,
            after_cr: false,
            begun: false,
        }
    }

    /// How many bytes the decoder holds: at most twice the limit, and the last segment.
    pub fn held_bytes(&self) -> usize {
        match &self.data {
            Data::Lines(lines) => self.buffer.len() + lines.len(),
            _ => self.buffer.len(),
        }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let keep = self.kept_from();
        if keep > 0 {
            self.buffer.drain(..keep);
            self.line -= keep;
            self.searched -= keep;
            if let Data::Line(range) = &mut self.data {
                *range = range.start - keep..range.end - keep;
            }
            if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES_KEPT {
                self.buffer = Vec::new();
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event. `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`TooLong`] if an event is longer than the limit. The decoder is not usable afterwards.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, TooLong> {
        while let Some((line, next)) = self.next_line() {
            self.line = next;
            self.searched = next;
            if line.is_empty() {
                let is_error = std::mem::take(&mut self.is_error);
                match std::mem::take(&mut self.data) {
                    Data::None if !is_error => {}
                    data => {
                        return Ok(Some(Event {
                            data: self.complete(data),
                            is_error,
                            is_bare: false,
                        }));
                    }
                }
            } else if self.is_bare(&line) {
                let data = self.buffer.get(line).unwrap_or_default();
                return Ok(Some(Event {
                    data,
                    is_error: false,
                    is_bare: true,
                }));
            } else {
                self.take_line(line)?;
            }
        }
        let waiting = self.buffer.len() - self.kept_from();
        if waiting > self.event_bytes_max {
            Err(TooLong)
        } else {
            Ok(None)
        }
    }

    /// The next event at the end of the stream, complete or without its empty line. Call it until
    /// it returns `None`.
    ///
    /// # Errors
    /// [`TooLong`] if an event is longer than the limit.
    pub fn finish(&mut self) -> Result<Option<Event<'_>>, TooLong> {
        let line = self.line..self.buffer.len();
        self.line = line.end;
        self.searched = line.end;
        if self.is_bare(&line) {
            let data = self.buffer.get(line).unwrap_or_default();
            return Ok(Some(Event {
                data,
                is_error: false,
                is_bare: true,
            }));
        }
        self.take_line(line)?;
        let is_error = std::mem::take(&mut self.is_error);
        match std::mem::take(&mut self.data) {
            Data::None if !is_error => Ok(None),
            data => Ok(Some(Event {
                data: self.complete(data),
                is_error,
                is_bare: false,
            })),
        }
    }

    /// Whether `line` begins like JSON and not with a field.
    fn is_bare(&self, line: &Range<usize>) -> bool {
        matches!(self.buffer.get(line.start), Some(b'{' | b'[')) && !line.is_empty()
    }

    /// The start of the part of the buffer that is still needed.
    fn kept_from(&self) -> usize {
        match &self.data {
            Data::Line(range) => range.start,
            _ => self.line,
        }
    }

    /// The next complete line without its line end, and the start of the line after it.
    fn next_line(&mut self) -> Option<(Range<usize>, usize)> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        if !self.begun {
            let head = self
                .buffer
                .get(..BYTE_ORDER_MARK.len().min(self.buffer.len()))?;
            if head.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(head) {
                return None;
            }
            if head == BYTE_ORDER_MARK {
                self.line = BYTE_ORDER_MARK.len();
                self.searched = self.line;
            }
            self.begun = true;
        }
        if self.after_cr {
            self.line += usize::from(*self.buffer.get(self.line)? == b'\n');
            self.searched = self.line;
            self.after_cr = false;
        }
        let Some(found) = memchr::memchr2(b'\n', b'\r', self.buffer.get(self.searched..)?) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        let next = match (self.buffer.get(end), self.buffer.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => end + 2,
            (Some(b'\r'), None) => {
                self.after_cr = true;
                end + 1
            }
            _ => end + 1,
        };
        Some((self.line..end, next))
    }

    fn take_line(&mut self, line: Range<usize>) -> Result<(), TooLong> {
        let text = self.buffer.get(line.clone()).unwrap_or_default();
        let value = match text.strip_prefix(b"data") {
            Some([]) => line.end..line.end,
            Some([b':', b' ', ..]) => line.start + 6..line.end,
            Some([b':', ..]) => line.start + 5..line.end,
            // A comment, another field, or not a field. The last name of an event counts.
            _ => {
                match text.strip_prefix(b"event") {
                    Some([]) => self.is_error = false,
                    Some([b':', name @ ..]) => self.is_error = name.trim_ascii() == b"error",
                    _ => {}
                }
                return Ok(());
            }
        };
        if value.len() > self.event_bytes_max {
            return Err(TooLong);
        }
        self.data = match std::mem::take(&mut self.data) {
            Data::None => Data::Line(value),
            Data::Line(first) => Data::Lines(self.buffer.get(first).unwrap_or_default().to_vec())
                .and(&self.buffer, value),
            lines @ Data::Lines(_) => lines.and(&self.buffer, value),
        };
        match &self.data {
            Data::Lines(lines) if lines.len() > self.event_bytes_max => Err(TooLong),
            _ => Ok(()),
        }
    }

    fn complete(&mut self, data: Data) -> &[u8] {
        match data {
            Data::None => &[],
            Data::Line(range) => self.buffer.get(range).unwrap_or_default(),
            Data::Lines(lines) => {
                // The joined lines move into the buffer, so that they can be borrowed like a single
                // line. `self.data` is empty, so no range points into the overwritten part.
                self.buffer.splice(..self.line, lines.iter().copied());
                self.line = lines.len();
                self.searched = self.line;
                self.buffer.get(..lines.len()).unwrap_or_default()
            }
        }
    }
}

impl Data {
    fn and(self, buffer: &[u8], line: Range<usize>) -> Self {
        let Self::Lines(mut lines) = self else {
            return self;
        };
        lines.push(b'\n');
        lines.extend_from_slice(buffer.get(line).unwrap_or_default());
        Self::Lines(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a decoder makes of these segments, the end of the stream included.
    fn decode<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for segment in segments {
            decoder.feed(segment);
            while let Some(event) = decoder.next_event().unwrap() {
                events.push(told(&event));
            }
        }
        while let Some(event) = decoder.finish().unwrap() {
            events.push(told(&event));
        }
        events
    }

    /// An event's data, after its name if that is `error`, or after `bare!` if it is none.
    fn told(event: &Event<'_>) -> String {
        let name = match event {
            Event { is_bare: true, .. } => "bare!",
            Event { is_error: true, .. } => "error!",
            _ => "",
        };
        format!("{name}{}", std::str::from_utf8(event.data).unwrap())
    }

    const FORMS: &[(&str, &[&str])] = &[
        ("data: a\n\ndata: b\n\n", &["a", "b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("\u{feff}data: a\n\n", &["a"]),
        ("data:a\n\ndata:  b\n\n", &["a", " b"]),
        (": comment\n\ndata: a\n: comment\n\n", &["a"]),
        (
            "data: a\ndata: b\ndata\ndata: c\n\ndata: d\n\n",
            &["a\nb\n\nc", "d"],
        ),
        ("event: x\nid: 7\nretry: 5\ndata: a\n\n", &["a"]),
        ("event: error\ndata: a\n\ndata: b\n\n", &["error!a", "b"]),
        ("data: a\r\ndata: b\r\nevent:error\r\n\r\n", &["error!a\nb"]),
        (
            "event: error\n\ndata: a\n\nevent: error",
            &["error!", "a", "error!"],
        ),
        (
            "event: error\nevent: x\ndata: a\n\nevents: error\ndata: b\n\n",
            &["a", "b"],
        ),
        ("data\n\n", &[""]),
        ("database: a\n\n", &[]),
        ("data: ü€😀\n\n", &["ü€😀"]),
        ("data: a\n\ndata: [DONE]", &["a", "[DONE]"]),
        ("data: a\n\ndata: [DONE]\n", &["a", "[DONE]"]),
        (
            "data: a\n\n{\"error\":1}\n\ndata: b\n\n",
            &["a", "bare!{\"error\":1}", "b"],
        ),
        (
            "data: a\n{\"error\":1}\ndata: b\n\n",
            &["bare!{\"error\":1}", "a\nb"],
        ),
        ("event: error\r\n[{}]\r\n\r\n", &["bare![{}]", "error!"]),
        ("data: a\n{\"error\":1}", &["bare!{\"error\":1}", "a"]),
        ("{\"error\":1}", &["bare!{\"error\":1}"]),
        ("\n\n\n", &[]),
        ("", &[]),
    ];

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        for (stream, expected) in FORMS {
            let bytes = stream.as_bytes();
            assert_eq!(decode([bytes]), *expected, "{stream:?} whole");
            assert_eq!(
                decode(bytes.chunks(1)),
                *expected,
                "{stream:?} byte by byte"
            );
            for cut in 0..bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(decode([head, tail]), *expected, "{stream:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn ten_thousand_events_in_one_segment_and_one_of_a_megabyte_arrive() {
        let many = "data: x\n\n".repeat(10_000);
        assert_eq!(decode([many.as_bytes()]).len(), 10_000);
        let large = format!("data: {}\n\n", "y".repeat(1_000_000));
        assert_eq!(decode(large.as_bytes().chunks(1460))[0].len(), 1_000_000);
    }

    #[test]
    fn an_event_without_end_is_refused_at_the_limit() {
        let mut decoder = Decoder::default();
        decoder.feed(b"data: ");
        let segment = vec![b'x'; 1024 * 1024];
        let fed = (0..100).take_while(|_| {
            decoder.feed(&segment);
            decoder.next_event() == Ok(None)
        });
        assert_eq!(fed.count() * segment.len(), EVENT_BYTES_MAX - segment.len());
    }

    #[test]
    fn comments_without_end_are_refused_at_the_limit() {
        let mut decoder = Decoder::default();
        decoder.feed(b"data: a\n");
        let comments = [b":".as_slice(), &[b'x'; 1022], b"\n"]
            .concat()
            .repeat(1024);
        let fed = (0..100).take_while(|_| {
            decoder.feed(&comments);
            decoder.next_event() == Ok(None)
        });
        assert!(fed.count() <= EVENT_BYTES_MAX / comments.len());
    }

    #[test]
    fn lines_without_end_are_refused_at_the_limit() {
        let mut decoder = Decoder::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; 1024 * 1024], b"\n"].concat();
        let fed = (0..100).take_while(|_| {
            decoder.feed(&line);
            decoder.next_event() == Ok(None)
        });
        assert!(fed.count() <= EVENT_BYTES_MAX / (1024 * 1024));
    }
}
