//! The text of an answer. It says that an emulator wrote it, and it fits the prompt.
//!
//! A prompt can ask for an exact text, which tests and demonstrations use:
//! - `repeat after me: TEXT` answers exactly TEXT;
//! - `count to N` answers the numbers;
//! - `say hello` or `say hello in N words` answers a greeting;
//! - `long`, `story`, `essay`, `poem` or `in detail` answers several hundred tokens;
//! - `markdown`, `table` or `function` answers Markdown, as models usually write it.

use super::seeded_rng::SeededRng;

const COUNT_MAX: usize = 100_000;
const GREETING_WORDS_MAX: usize = 200;
const QUOTE_CHARS_MAX: usize = 60;
const TOOL_RESULT_CHARS_MAX: usize = 400;

const OPENINGS: &[&str] = &[
    "This is the Featherwire emulator answering in place of",
    "The Featherwire emulator speaks here on behalf of",
    "You have reached the Featherwire emulator, standing in for",
];

const REMARKS: &[&str] = &[
    "No real model has read this, but every byte of it travelled the way a real answer would.",
    "The words are made up on this machine; the tokens, the pace and the counting are as in \
     earnest.",
    "Nothing left this machine, so you can try prompts, tools and streams freely.",
    "Ask the same again and the same text comes back, which makes it easy to test against.",
    "With a real key the same request would reach a real model unchanged.",
];

const GREETINGS: &[&str] = &[
    "Hello there, nice meeting you, and may this be a good day for everyone here",
    "Hi, and a warm welcome, dear friend, to this small corner of a wide network",
    "Greetings, lovely to see you, so take a seat and make yourself at home",
];

const STORY_OPENINGS: &[&str] = &[
    "This is the story the Featherwire emulator tells.",
    "The Featherwire emulator knows one story, and it goes like this.",
    "Once upon a time, says the Featherwire emulator, there was a network.",
];

const STORY: &[&str] = &[
    "A small gateway stood at the edge of a wide network, and every morning it listened for the \
     first knock.",
    "The knock came in frames, short and regular, like rain that had learned to count.",
    "Nobody had told the gateway how long an answer would be, so it never asked; it passed on \
     each word as it came.",
    "One evening a caller hung up in the middle of a sentence, and the gateway let go of the line \
     at once.",
    "Far away a machine noticed the silence, put down its pen, and was free for somebody else.",
    "There were days when the machines were cold, and then the gateway said so instead of waiting \
     in the dark.",
    "A traveller asked for the same tale twice and was glad to hear the same words twice.",
    "Some tales stopped too early, and of those the gateway said honestly that they had no end.",
    "Between two words there could be a long pause; the gateway kept a clock for each of them.",
    "In winter the lines grew long, and everyone in them was told how long.",
    "The youngest of the machines could only think aloud, and the gateway carried its thoughts \
     beside its words.",
    "When the lamp was finally turned down, every line was closed and nothing was left open.",
];

const STORY_SENTENCES: usize = 24;

const MARKDOWN: &str = r#"## What the Featherwire emulator can write

No real model answers here, but the **form** is that of one:

| drink | caffeine | steeps for |
|:--|--:|--:|
| green tea | 30 mg | 2 min |
| black tea | 50 mg | 4 min |
| coffee | 95 mg | 4 min |

1. Tea is *steeped*, and coffee is *brewed*.
2. Both are mostly water, says [the emulator](https://featherless.ai).

```python
def longest(text: str) -> str:
    """The longest word of a text."""
    return max(text.split(), key=len, default="")  # the first of several
```

> Ask for `a story` to see a longer answer."#;

/// The parts of a request that determine the text of the answer.
pub struct AnswerContext<'a> {
    pub model: &'a str,
    /// The last message of the user.
    pub prompt: &'a str,
    pub images: usize,
    /// The result of a tool, if it is the last message.
    pub tool_result: Option<&'a str>,
}

pub fn answer(ask: &AnswerContext<'_>, rng: &mut SeededRng) -> String {
    if let Some(result) = ask.tool_result {
        let result = quote(result, TOOL_RESULT_CHARS_MAX);
        return format!(
            "The tool answered: {result}. The Featherwire emulator passes that on as the answer."
        );
    }
    // Only ASCII letters change, so that positions in `lower` are also positions in the prompt.
    let lower = ask.prompt.to_ascii_lowercase();
    if let Some(text) = after(ask.prompt, &lower, "repeat after me:") {
        return text.strip_prefix(' ').unwrap_or(text).to_owned();
    }
    if let Some(last) = after(ask.prompt, &lower, "count to ").and_then(leading_number) {
        return count_to(last.min(COUNT_MAX));
    }
    if is_greeting(&lower) {
        return greeting(number_before(&lower, " words"), rng);
    }
    if asks_for_length(&lower) {
        return story(rng);
    }
    if asks_for_markdown(&lower) {
        return MARKDOWN.to_owned();
    }
    general(ask, rng)
}

/// The reasoning of a model that reasons.
pub fn reasoning(ask: &AnswerContext<'_>) -> String {
    let quoted = quote(ask.prompt, QUOTE_CHARS_MAX);
    format!(
        "The user says \"{quoted}\". I am an emulator, so I should be brief, be honest about that, \
         and answer."
    )
}

/// The beginning of `text`, on one line.
pub fn quote(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    let start: String = line.chars().take(chars_max).collect();
    format!("{}…", start.trim_end())
}

fn general(ask: &AnswerContext<'_>, rng: &mut SeededRng) -> String {
    let opening = rng.pick(OPENINGS);
    let seen = match ask.images {
        0 => String::new(),
        1 => " I can see 1 image.".to_owned(),
        many => format!(" I can see {many} images."),
    };
    let quoted = match quote(ask.prompt, QUOTE_CHARS_MAX) {
        nothing if nothing.is_empty() => "You said nothing.".to_owned(),
        quoted => format!("You asked: \"{quoted}\"."),
    };
    format!(
        "{opening} {}.{seen} {quoted} {}",
        ask.model,
        rng.pick(REMARKS)
    )
}

fn story(rng: &mut SeededRng) -> String {
    let mut text = rng.pick(STORY_OPENINGS).to_owned();
    let start = rng.below(STORY.len());
    for (index, sentence) in STORY
        .iter()
        .cycle()
        .skip(start)
        .take(STORY_SENTENCES)
        .enumerate()
    {
        let gap = if index % 4 == 3 { "\n\n" } else { " " };
        text.push_str(gap);
        text.push_str(sentence);
    }
    text
}

/// Whether the prompt is a greeting or asks for one. `hello` inside a longer prompt, such as "write
/// hello world", does not count.
fn is_greeting(lower: &str) -> bool {
    ["hello", "hi ", "hi,", "hi!"]
        .iter()
        .any(|start| lower.starts_with(start))
        || lower.contains("say hello")
        || lower.contains("greet")
}

fn asks_for_length(lower: &str) -> bool {
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    let has_word = words.any(|word| matches!(word, "long" | "story" | "essay" | "poem"));
    // "How long" is an ordinary question.
    (has_word && !lower.contains("how long")) || lower.contains("in detail")
}

fn asks_for_markdown(lower: &str) -> bool {
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    words.any(|word| matches!(word, "markdown" | "table" | "function"))
}

fn count_to(last: usize) -> String {
    (1..=last)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A greeting of exactly `words` words, or a whole sentence if `words` is `None`.
fn greeting(words: Option<usize>, rng: &mut SeededRng) -> String {
    let sentence = rng.pick(GREETINGS);
    let words = words
        .unwrap_or_else(|| sentence.split(' ').count())
        .clamp(1, GREETING_WORDS_MAX);
    let text = sentence
        .split(' ')
        .cycle()
        .take(words)
        .collect::<Vec<_>>()
        .join(" ");
    format!("{}!", text.trim_end_matches(','))
}

/// The text after `marker`. `lower` is `text` in lower case.
fn after<'a>(text: &'a str, lower: &str, marker: &str) -> Option<&'a str> {
    text.get(lower.find(marker)? + marker.len()..)
}

fn leading_number(text: &str) -> Option<usize> {
    let digits: String = text
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

fn number_before(lower: &str, marker: &str) -> Option<usize> {
    let (before, _) = lower.split_once(marker)?;
    before.rsplit(' ').next()?.parse().ok()
}
