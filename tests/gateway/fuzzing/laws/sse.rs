//! The law of the event stream decoder.

use featherwire::upstream::sse::{Decoder, EVENT_BYTES_MAX, Event, TooLong};

use super::standard;

/// The possible limits for the length of an event. Two bits of the input select one. For input that
/// begins with a digit it is the real limit. The others are small, so that a small input can reach
/// them.
const LIMITS: [usize; 4] = [8, 64, EVENT_BYTES_MAX, 24];

/// For pieces of any size, the decoder finds the same events as the standard's algorithm, and holds
/// no more memory than its limit.
///
/// The input starts with the rules for splitting the stream. The first byte has the number of
/// lengths (the lower three bits) and the limit (the next two bits). The next bytes have the
/// lengths (the lower five bits of each), which are used in turn.
pub fn sse(input: &[u8]) {
    let Some((&head, rest)) = input.split_first() else {
        return;
    };
    let limit = LIMITS[usize::from(head >> 3 & 3)];
    let (lengths, stream) = rest.split_at(usize::from(head & 7).min(rest.len()));
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|length| usize::from(length & 31))
        .collect();

    let events = standard::events(stream);
    let in_pieces = decode(limit, &pieces(stream, &lengths));
    for decoded in [decode(limit, &[stream]), in_pieces] {
        if decoded.is_refused {
            assert!(
                events.starts_with(&decoded.events),
                "wrong: {:?}",
                decoded.events
            );
            assert!(
                standard::longest_block(stream) > limit,
                "refused, although no event is longer than {limit}"
            );
        } else {
            assert_eq!(decoded.events, events);
            assert!(
                events.iter().all(|(data, _)| data.len() <= limit),
                "an event longer than {limit}"
            );
        }
        let bytes_out: usize = decoded.events.iter().map(|(data, _)| data.len()).sum();
        assert!(
            bytes_out <= stream.len(),
            "{bytes_out} bytes out of {}",
            stream.len()
        );
    }
}

struct Decoded {
    /// The data of each event, and whether its name is `error`.
    events: Vec<(Vec<u8>, bool)>,
    is_refused: bool,
}

fn decode(limit: usize, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::with_limit(limit);
    let mut events = Vec::new();
    let mut keep = |event: &Event<'_>| {
        // The standard ignores these.
        if event.is_bare {
            assert!(
                matches!(event.data, [b'{' | b'[', ..]),
                "no JSON: {:?}",
                event.data
            );
        } else {
            events.push((event.data.to_vec(), event.is_error));
        }
    };
    let mut feed = || {
        for piece in pieces {
            decoder.feed(piece);
            // An incomplete line, the lines before it, and the bytes that have just arrived.
            let bytes_max = limit.saturating_mul(2) + piece.len();
            assert!(
                decoder.held_bytes() <= bytes_max,
                "holds {}, more than {bytes_max}",
                decoder.held_bytes()
            );
            while let Some(event) = decoder.next_event()? {
                keep(&event);
            }
        }
        while let Some(event) = decoder.finish()? {
            keep(&event);
        }
        Ok(())
    };
    let is_refused = feed() == Err(TooLong);
    Decoded { events, is_refused }
}

/// The stream in pieces of these lengths, used in turn.
fn pieces<'a>(stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = stream;
    let mut pieces = Vec::new();
    if lengths.iter().any(|length| *length > 0) {
        let mut lengths = lengths.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
    }
    pieces.push(rest);
    pieces
}
