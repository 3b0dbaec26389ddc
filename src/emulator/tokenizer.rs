//! A simple, predictable tokenizer: a token is up to six bytes of a word with its leading space, or
//! up to three digits.
//!
//! The pieces of a text, joined, are exactly the text. A character is never split. `usage`,
//! `/tokenize`, streaming and `max_tokens` all count the same pieces.

use super::seeded_rng;

/// The size of the vocabulary, as in Llama 3.
const VOCABULARY: u64 = 128_000;

pub fn split(text: &str) -> Vec<String> {
    pieces(text).map(str::to_owned).collect()
}

pub fn count(text: &str) -> usize {
    pieces(text).count()
}

pub fn ids(text: &str) -> Vec<u64> {
    pieces(text).map(id).collect()
}

pub fn id(piece: &str) -> u64 {
    seeded_rng::fingerprint(&[piece.as_bytes()]) % VOCABULARY
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at_checked(first_piece_bytes(rest))?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn first_piece_bytes(text: &str) -> usize {
    let mut chars = text.chars().peekable();
    let mut length = 0;
    let mut kind = match chars.next() {
        None => return 0,
        Some(first) => {
            length += first.len_utf8();
            Kind::of(first)
        }
    };
    // One space before a word belongs to the word, as in all tokenizers of this family.
    let mut body = length;
    if text.starts_with(' ')
        && let Some(next) = chars.next_if(|c| Kind::of(*c) != Kind::Blank)
    {
        kind = Kind::of(next);
        body = next.len_utf8();
        length += body;
    }
    while let Some(next) =
        chars.next_if(|c| Kind::of(*c) == kind && body + c.len_utf8() <= kind.longest_bytes())
    {
        body += next.len_utf8();
        length += next.len_utf8();
    }
    length
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Blank,
    Digit,
    Letter,
    Mark,
}

impl Kind {
    fn of(c: char) -> Self {
        if c.is_whitespace() {
            Self::Blank
        } else if c.is_ascii_digit() {
            Self::Digit
        } else if c.is_alphanumeric() {
            Self::Letter
        } else {
            Self::Mark
        }
    }

    fn longest_bytes(self) -> usize {
        match self {
            Self::Digit => 3,
            Self::Mark => 4,
            Self::Blank | Self::Letter => 6,
        }
    }
}
