//! Generated log probabilities in the API's two formats: that of chat completions and the older one
//! of text completions.

use serde_json::{Map, Value, json};

use super::seeded_rng::{self, SeededRng};

/// One more than a request can ask for, because the generated token itself may be in the list.
const ALTERNATIVES: &[&str] = &[
    " the", " a", " and", " of", " to", " in", " is", " it", " you", " that", " for", " on",
    " with", " as", " this", " was", " be", " are", " or", " not", " at",
];

/// The difference in log probability between two successive alternatives.
const STEP: f64 = 0.75;

/// The entry of one token in a chat choice.
pub fn chat_entry(piece: &str, top: usize) -> Value {
    let candidates: Vec<Value> = candidates(piece, top)
        .map(|(token, logprob)| {
            json!({"token": token, "logprob": logprob,
        "bytes": token.as_bytes()})
        })
        .collect();
    json!({
        "token": piece, "logprob": logprob(piece), "bytes": piece.as_bytes(),
        "top_logprobs": candidates,
    })
}

pub fn chat(pieces: &[String], top: usize) -> Value {
    let content: Vec<Value> = pieces.iter().map(|piece| chat_entry(piece, top)).collect();
    json!({"content": content, "refusal": null})
}

/// The `logprobs` of a text completion. `offset` is the position of the first piece in the text, in
/// characters.
pub fn text(pieces: &[String], top: usize, offset: usize) -> Value {
    let mut at = offset;
    let mut offsets = Vec::with_capacity(pieces.len());
    for piece in pieces {
        offsets.push(at);
        at += piece.chars().count();
    }
    let likely = |piece: &String| {
        let named =
            candidates(piece, top).map(|(token, logprob)| (token.to_owned(), json!(logprob)));
        Value::Object(named.collect::<Map<_, _>>())
    };
    json!({
        "tokens": pieces,
        "token_logprobs": pieces.iter().map(|piece| logprob(piece)).collect::<Vec<_>>(),
        "top_logprobs": pieces.iter().map(likely).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// The `top` most likely tokens, the generated one first.
fn candidates(piece: &str, top: usize) -> impl Iterator<Item = (&str, f64)> {
    let others = ALTERNATIVES
        .iter()
        .copied()
        .filter(move |other| *other != piece);
    let all = std::iter::once(piece).chain(others).take(top);
    let highest = logprob(piece);
    all.enumerate()
        .map(move |(index, token)| (token, highest - STEP * index as f64))
}

fn logprob(piece: &str) -> f64 {
    let mut rng = SeededRng::new(seeded_rng::fingerprint(&[piece.as_bytes()]));
    // Eighths are exact in binary, so that sums are exact too. A negation would write `-0.0` for
    // zero, therefore the value is subtracted.
    0.0 - rng.below(8) as f64 / 8.0
}
