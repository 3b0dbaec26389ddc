//! The algorithm of the HTML standard for event streams (§ 9.2.6), in the order of the standard and
//! without optimisation. The decoder is compared with it. Like the decoder, and unlike the
//! standard, it treats the lines before the end of the stream as an event, and accepts an event
//! with the name `error` without data.

/// The data of every event of a stream, and whether the event is named `error`.
pub fn events(stream: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    let mut is_error = false;
    for line in lines(stream) {
        if line.is_empty() {
            events.extend(event(data.take(), std::mem::take(&mut is_error)));
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if field == b"event" {
            is_error = value.trim_ascii() == b"error";
        }
        if field == b"data" {
            data = Some(match data.take() {
                None => value.to_vec(),
                Some(before) => [&before, &b"\n"[..], value].concat(),
            });
        }
    }
    events.extend(event(data, is_error));
    events
}

fn event(data: Option<Vec<u8>>, is_error: bool) -> Option<(Vec<u8>, bool)> {
    data.or(is_error.then(Vec::new))
        .map(|data| (data, is_error))
}

/// The length of the longest sequence of lines without an empty line, including line ends.
pub fn longest_block(stream: &[u8]) -> usize {
    let (mut longest, mut current) = (0, 0);
    for line in lines(stream) {
        // A line end has one byte or two. Counting one too many is allowed here.
        current = if line.is_empty() {
            0
        } else {
            current + line.len() + 2
        };
        longest = longest.max(current);
    }
    longest
}

/// The lines of a stream. The last one may have no line end.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let mut rest = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        rest = if rest[end..].starts_with(b"\r\n") {
            &rest[end + 2..]
        } else {
            &rest[end + 1..]
        };
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}
