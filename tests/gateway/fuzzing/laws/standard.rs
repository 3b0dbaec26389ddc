//! Event streams as the HTML standard has them, § 9.2.6, in its own order and with no thought of speed: what the decoder
//! is compared with. As the decoder does, it takes what stands before the end of the stream for an event.

/// The data of every event of a stream.
pub fn events(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    for line in lines(stream) {
        if line.is_empty() {
            events.extend(data.take());
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if field == b"data" {
            data = Some(match data.take() {
                None => value.to_vec(),
                Some(before) => [&before, &b"\n"[..], value].concat(),
            });
        }
    }
    events.extend(data);
    events
}

/// The length of the longest run of lines without an empty one between them, with their ends.
pub fn longest_block(stream: &[u8]) -> usize {
    let (mut longest, mut current) = (0, 0);
    for line in lines(stream) {
        // An end is one byte or two: one too many does no harm here.
        current = if line.is_empty() { 0 } else { current + line.len() + 2 };
        longest = longest.max(current);
    }
    longest
}

/// The lines of a stream, the last of which may have no end.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let mut rest = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        rest = if rest[end..].starts_with(b"\r\n") { &rest[end + 2..] } else { &rest[end + 1..] };
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}
