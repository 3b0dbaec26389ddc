//! `POST /v1/embeddings`: unit vectors computed from the tokens. Similar texts have similar
//! vectors.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::admission::Admission;
use super::auth::Authenticated;
use super::body::JsonBody;
use super::completion_request::{TextOrTokens, texts_or_tokens};
use super::exchange::Exchange;
use super::members::Members;
use super::refusal::Refusal;
use super::seeded_rng::{self, SeededRng};
use super::state::Shared;

const DIMENSIONS_MAX: i64 = 4096;

pub async fn create(
    _: Authenticated,
    State(emulator): State<Shared>,
    Extension(exchange): Extension<Exchange>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let members = Members::of_body(&body.members);
    let model = members.required_text("model")?;
    let inputs = texts_or_tokens(&members, "input")?;
    let encoding = Encoding::read(&members)?;
    let dimensions = members.integer(
        "dimensions",
        |d| (1..=DIMENSIONS_MAX).contains(&d),
        "from 1 to 4096",
    )?;
    let model = &*emulator.catalogue.usable(model)?;
    model.check_makes_embeddings()?;
    let dimensions = dimensions
        .and_then(|d| usize::try_from(d).ok())
        .unwrap_or(model.dimensions());
    check_lengths(&inputs, model.context_length)?;

    let admitted = emulator.admit(model, exchange, body.fingerprint).await?;
    let delivery = match admitted {
        Admission::Granted(delivery) => delivery,
        Admission::Answered(answer) => return Ok(answer),
    };
    let entry = |(index, input): (usize, &TextOrTokens)| {
        let vector = vector(input, dimensions, emulator.config.seed);
        json!({"object": "embedding", "index": index, "embedding": encoding.apply(&vector)})
    };
    let data: Vec<Value> = inputs.iter().enumerate().map(entry).collect();
    let tokens: usize = inputs.iter().map(TextOrTokens::tokens).sum();
    let answer = json!({
        "object": "list", "model": model.id, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    // No tokens are generated, so the answer has no delay.
    Ok(delivery.unary(answer, 0).await)
}

fn check_lengths(inputs: &[TextOrTokens], context_length: usize) -> Result<(), Refusal> {
    match inputs.iter().map(TextOrTokens::tokens).max().unwrap_or(0) {
        0 => Err(Refusal::invalid(
            "input",
            "invalid_value",
            "'input' must not be empty.",
        )),
        longest if longest > context_length => {
            Err(Refusal::context_length("input", context_length, longest))
        }
        _ => Ok(()),
    }
}

/// The sum of a vector per token, scaled to length one.
fn vector(input: &TextOrTokens, dimensions: usize, seed: u64) -> Vec<f32> {
    let mut sum = vec![0.0_f32; dimensions];
    for id in input.ids() {
        let mut rng = SeededRng::new(seeded_rng::fingerprint(&[
            &seed.to_le_bytes(),
            &id.to_le_bytes(),
        ]));
        sum.iter_mut()
            .for_each(|component| *component += rng.signed_unit());
    }
    let length = sum
        .iter()
        .map(|component| component * component)
        .sum::<f32>()
        .sqrt();
    if length > 0.0 {
        sum.iter_mut().for_each(|component| *component /= length);
    }
    sum
}

enum Encoding {
    Float,
    Base64,
}

impl Encoding {
    fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        match members.text("encoding_format")? {
            None | Some("float") => Ok(Self::Float),
            Some("base64") => Ok(Self::Base64),
            Some(other) => {
                let message =
                    format!("Invalid value for 'encoding_format': unknown format '{other}'.");
                Err(Refusal::invalid(
                    "encoding_format",
                    "invalid_value",
                    message,
                ))
            }
        }
    }

    fn apply(&self, vector: &[f32]) -> Value {
        match self {
            Self::Float => vector.iter().copied().collect(),
            Self::Base64 => {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|component| component.to_le_bytes())
                    .collect();
                Value::String(BASE64_STANDARD.encode(&bytes))
            }
        }
    }
}
