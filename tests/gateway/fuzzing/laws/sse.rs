//! The event stream decoder.

use featherwire::upstream::sse::{Decoder, EVENT_BYTES_MAX, Event, TooLong};

use super::standard;

/// The longest event, chosen by two bits of the input. For input that begins with a digit it is the
/// real one; the others are small enough for the limit to be met by a small input.
const LIMITS: [usize; 4] = [8, 64, EVENT_BYTES_MAX, 24];

/// The decoder finds the events that the standard finds, in pieces of any size, and holds no more
/// than it says.
///
/// The input begins with how to cut the stream: a byte that says into how many lengths (its lower
/// three bits) and which limit applies (the next two), then that many lengths (their lower five
/// bits), which are used in turn.
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
                "refused, though nothing is longer than {limit}"
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
    /// The data of each, and whether it is named `error`.
    events: Vec<(Vec<u8>, bool)>,
    is_refused: bool,
}

fn decode(limit: usize, pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::with_limit(limit);
    let mut events = Vec::new();
    let mut keep = |event: &Event<'_>| {
        // To the standard these are nothing.
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
            // A line that waits for its end, the lines before it, and what came just now.
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
