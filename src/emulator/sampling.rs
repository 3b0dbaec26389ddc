//! The parameters that chat and text completions share: strict checks, and their effect on the
//! generated text.

use serde_json::Value;

use super::members::{Members, wrong_type};
use super::refusal::Refusal;
use super::seeded_rng::{self, SeededRng};
use super::tokenizer;

const CHOICES_MAX: i64 = 128;

#[derive(Debug)]
pub struct Sampling {
    pub max_tokens: Option<usize>,
    pub choices: usize,
    min_tokens: usize,
    stop: Vec<String>,
    stop_token_ids: Vec<u64>,
    keeps_stop: bool,
    seed: i64,
    is_greedy: bool,
}

impl Sampling {
    pub fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        if members.raw("provider").is_some() {
            // Gateways in front of this API read this member and must not forward it.
            let message = "Unrecognized request argument supplied: provider";
            return Err(Refusal::invalid("provider", "unknown_parameter", message));
        }
        check_ignored(members)?;
        let temperature =
            members.number("temperature", |t| (0.0..=2.0).contains(&t), "from 0 to 2")?;
        let at_least_one = |name| members.integer(name, |count| count >= 1, "at least 1");
        let legacy_max = at_least_one("max_tokens")?;
        let max_tokens = at_least_one("max_completion_tokens")?.or(legacy_max);
        let min_tokens = members.integer("min_tokens", |count| count >= 0, "at least 0")?;
        let choices = members.integer("n", |n| (1..=CHOICES_MAX).contains(&n), "from 1 to 128")?;
        Ok(Self {
            max_tokens: max_tokens.and_then(|max| usize::try_from(max).ok()),
            choices: choices.and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            min_tokens: min_tokens
                .and_then(|min| usize::try_from(min).ok())
                .unwrap_or(0),
            stop: members.texts("stop")?,
            stop_token_ids: token_ids(members)?,
            keeps_stop: members.flag("include_stop_str_in_output")?.unwrap_or(false),
            seed: members
                .integer("seed", |_| true, "an integer")?
                .unwrap_or(0),
            is_greedy: temperature == Some(0.0),
        })
    }

    /// The generator for choice number `index` of the answer to `prompt_fingerprint`. With greedy
    /// sampling, all choices have the same generator.
    pub fn rng_for_choice(
        &self,
        emulator_seed: u64,
        prompt_fingerprint: &[u8],
        index: usize,
    ) -> SeededRng {
        let varied = if self.is_greedy {
            (0, 0)
        } else {
            (self.seed, index)
        };
        let parts: [&[u8]; 4] = [
            &emulator_seed.to_le_bytes(),
            prompt_fingerprint,
            &varied.0.to_le_bytes(),
            &varied.1.to_le_bytes(),
        ];
        SeededRng::new(seeded_rng::fingerprint(&parts))
    }

    /// Cuts `text` at the token limit, at a stop token or at a stop string, and returns the pieces
    /// and the finish reason. The `reasoning_tokens` tokens of reasoning count towards
    /// `min_tokens`. The text is extended to `min_tokens`, and stops before that length are
    /// ignored.
    pub fn cut(
        &self,
        text: &str,
        reasoning_tokens: usize,
        budget_tokens: usize,
        padding: Padding,
    ) -> (Vec<String>, &'static str) {
        let min_tokens = self.min_tokens.saturating_sub(reasoning_tokens);
        let mut pieces = padding.pad(text, min_tokens.min(budget_tokens));
        let mut finish = "stop";
        // A text shorter than `min_tokens` because of the limit was cut by the limit.
        if pieces.len() > budget_tokens || min_tokens > budget_tokens {
            pieces.truncate(budget_tokens);
            finish = "length";
        }
        let is_stop_token = |piece: &String| self.stop_token_ids.contains(&tokenizer::id(piece));
        if let Some(position) = pieces.iter().skip(min_tokens).position(is_stop_token) {
            pieces.truncate(min_tokens + position);
            finish = "stop";
        }
        let from = pieces.iter().take(min_tokens).map(String::len).sum();
        if let Some(stopped) = self.stopped(&pieces.concat(), from) {
            pieces = tokenizer::split(stopped);
            finish = "stop";
        }
        (pieces, finish)
    }

    /// The part of `text` before the first stop string. Stop strings in the first `from` bytes are
    /// ignored. `None` if there is no stop string.
    fn stopped<'a>(&self, text: &'a str, from: usize) -> Option<&'a str> {
        let (_, rest) = text.split_at_checked(from)?;
        let strings = self.stop.iter().filter(|stop| !stop.is_empty());
        let found =
            strings.filter_map(|stop| rest.find(stop).map(|start| (from + start, stop.len())));
        let (start, length) = found.min()?;
        let end = if self.keeps_stop {
            start + length
        } else {
            start
        };
        text.get(..end)
    }
}

/// The padding of an answer that is shorter than `min_tokens`.
#[derive(Clone, Copy)]
pub enum Padding {
    /// The same words, repeated.
    Words,
    /// Spaces, which are valid after JSON.
    Blanks,
}

impl Padding {
    /// The pieces of `text`, padded to at least `tokens` pieces.
    fn pad(self, text: &str, tokens: usize) -> Vec<String> {
        let mut pieces = tokenizer::split(text);
        let more = match self {
            Self::Words if !pieces.is_empty() => tokenizer::split(&format!(" {text}")),
            // An empty answer has no words to repeat.
            Self::Words | Self::Blanks => vec![" ".to_owned()],
        };
        let missing = tokens.saturating_sub(pieces.len());
        pieces.extend(more.into_iter().cycle().take(missing));
        pieces
    }
}

/// Checks the range of parameters that have no effect in the emulator. Featherless refuses values
/// out of range.
fn check_ignored(members: &Members<'_>) -> Result<(), Refusal> {
    let penalty = |p: f64| (-2.0..=2.0).contains(&p);
    members.number(
        "top_p",
        |p| p > 0.0 && p <= 1.0,
        "greater than 0 and at most 1",
    )?;
    members.number("min_p", |p| (0.0..=1.0).contains(&p), "from 0 to 1")?;
    members.number("presence_penalty", penalty, "from -2 to 2")?;
    members.number("frequency_penalty", penalty, "from -2 to 2")?;
    members.number("repetition_penalty", |p| p > 0.0, "greater than 0")?;
    members.integer("top_k", |k| k >= -1, "at least -1")?;
    members.object("logit_bias")?;
    members.text("user")?;
    Ok(())
}

/// The streaming options of a request.
pub struct Streaming {
    pub is_on: bool,
    pub includes_usage: bool,
}

impl Streaming {
    pub fn read(members: &Members<'_>) -> Result<Self, Refusal> {
        let options = members.object("stream_options")?;
        let includes_usage = options
            .map(|options| options.flag("include_usage"))
            .transpose()?;
        Ok(Self {
            is_on: members.flag("stream")?.unwrap_or(false),
            includes_usage: includes_usage.flatten().unwrap_or(false),
        })
    }
}

fn token_ids(members: &Members<'_>) -> Result<Vec<u64>, Refusal> {
    let path = members.path_of("stop_token_ids");
    let items = members.list("stop_token_ids")?.into_iter().flatten();
    let id = |item: &Value| {
        item.as_u64()
            .ok_or_else(|| wrong_type(&path, "an array of integers", item))
    };
    items.map(id).collect()
}
