//! An answer, as it is written to the two outputs: text to standard output, and reasoning to
//! standard error. What cannot be written as text is named after it.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
};

use super::super::{failure::Failure, output, printable, style::Style};
use crate::proto::v1::{ChatChunkChoice, ChatDelta, ChatMessage, ContentPart, ToolCall};

/// The largest number of names of what is not shown. The upstream chooses some of them.
const NAMES_MAX: usize = 8;

/// The state of the output, on which the next output depends.
pub(super) struct View {
    style: Style,
    /// In a terminal, an answer must not control it. Another program gets the text as it is.
    is_terminal: bool,
    reasoning: bool,
    needs_line_end: bool,
    has_text: bool,
    is_refused: bool,
    finish_reason: String,
    /// The parts of the answer that are no text.
    not_shown: BTreeSet<String>,
    /// The members that the contract does not name. Most tell nothing: they count without text.
    unknown: BTreeSet<String>,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            style: Style::of(&io::stderr()),
            is_terminal: io::stdout().is_terminal(),
            reasoning: false,
            needs_line_end: false,
            has_text: false,
            is_refused: false,
            finish_reason: String::new(),
            not_shown: BTreeSet::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Shows a piece of the answer. Its tool calls are shown at the end: their pieces may alternate.
    pub(super) fn show(&mut self, piece: &ChatChunkChoice) -> Result<(), Failure> {
        if self.finish_reason.is_empty() {
            self.finish_reason = piece.finish_reason.clone().unwrap_or_default();
        }
        if piece.logprobs.is_some() {
            note(&mut self.not_shown, "log probabilities");
        }
        for name in piece.extra.keys() {
            note(&mut self.unknown, name);
        }
        let Some(delta) = &piece.delta else {
            return Ok(());
        };
        for name in delta.extra.keys() {
            note(&mut self.unknown, name);
        }
        if !delta.annotations.is_empty() {
            note(&mut self.not_shown, "sources");
        }
        if let Some(reasoning) = reasoning(delta) {
            self.reasoning = true;
            let is_terminal = io::stderr().is_terminal();
            let text = match is_terminal {
                true => printable::text(reasoning),
                false => reasoning.into(),
            };
            output::draw(self.style.dim(text));
        }
        self.answer(delta.content.as_deref())?;
        for part in &delta.content_parts {
            self.part(part)?;
        }
        self.refusal(delta.refusal.as_deref())?;
        if let Some(audio) = &delta.audio {
            note(&mut self.not_shown, "audio");
            self.answer(audio.transcript.as_deref())?;
        }
        Ok(())
    }

    /// The stream has more than one answer, of which one is shown.
    pub(super) fn has_others(&mut self) {
        note(&mut self.not_shown, "other answers");
    }

    fn part(&mut self, part: &ContentPart) -> Result<(), Failure> {
        self.answer(part.text.as_deref())?;
        self.refusal(part.refusal.as_deref())?;
        if part.text.is_none() && part.refusal.is_none() {
            let kind = part.r#type.as_deref().unwrap_or("unknown");
            note(&mut self.not_shown, &format!("a part of the kind `{kind}`"));
        }
        Ok(())
    }

    fn refusal(&mut self, text: Option<&str>) -> Result<(), Failure> {
        self.is_refused |= text.is_some_and(|text| !text.is_empty());
        self.answer(text)
    }

    fn answer(&mut self, text: Option<&str>) -> Result<(), Failure> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        if std::mem::take(&mut self.reasoning) {
            output::draw("\n\n");
        }
        self.has_text = true;
        self.needs_line_end = !text.ends_with('\n');
        match self.is_terminal {
            true => output::print(printable::text(text)),
            false => output::print(text),
        }
    }

    /// Ends the last line, shows the tool calls of the message, and says what is unusual.
    pub(super) fn finish(
        &mut self,
        message: &ChatMessage,
        is_complete: bool,
    ) -> Result<(), Failure> {
        for call in calls(message) {
            self.end_line()?;
            self.answer(Some(&call))?;
        }
        if std::mem::take(&mut self.reasoning) {
            output::draw("\n");
        }
        self.end_line()?;
        if self.is_refused {
            tell("the model refuses to answer");
        }
        match self.finish_reason.as_str() {
            "" | "stop" | "tool_calls" | "function_call" => {}
            "length" => tell("the answer ended at its length limit (--max-tokens)"),
            "content_filter" => tell("a content filter ended the answer"),
            other => tell(&format!("the answer ended with the reason `{other}`")),
        }
        if !self.has_text {
            let members = std::mem::take(&mut self.unknown);
            let members = members.iter().map(|name| format!("the member `{name}`"));
            self.not_shown.extend(members);
        }
        if !self.not_shown.is_empty() {
            let names: Vec<_> = self.not_shown.iter().map(String::as_str).collect();
            let names = names.join(", ");
            tell(&format!(
                "the answer has more than text: {names} (--json prints all)"
            ));
        } else if is_complete && !self.has_text {
            tell("the answer has no text");
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.needs_line_end) {
            true => output::print("\n"),
            false => Ok(()),
        }
    }
}

/// Whether a piece has text, which is shown at once.
pub(super) fn has_text(delta: &ChatDelta) -> bool {
    let transcript = delta
        .audio
        .as_ref()
        .and_then(|audio| audio.transcript.as_deref());
    let mut parts = delta.content_parts.iter();
    [
        delta.content.as_deref(),
        delta.refusal.as_deref(),
        reasoning(delta),
        transcript,
    ]
    .iter()
    .any(|text| text.is_some_and(|text| !text.is_empty()))
        || parts.any(|part| part.text.is_some() || part.refusal.is_some())
}

/// The reasoning. Engines name it by one of two members, or by both.
fn reasoning(delta: &ChatDelta) -> Option<&str> {
    [&delta.reasoning_content, &delta.reasoning]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .find(|text| !text.is_empty())
}

/// The calls of tools, each as a line.
fn calls(message: &ChatMessage) -> impl Iterator<Item = String> {
    let of_tools = message.tool_calls.iter().map(|call| match call {
        ToolCall {
            custom: Some(custom),
            ..
        } => line(custom.name.as_deref(), custom.input.as_deref()),
        ToolCall {
            function: Some(function),
            ..
        } => line(function.name.as_deref(), function.arguments.as_deref()),
        ToolCall { r#type, .. } => line(r#type.as_deref(), None),
    });
    let of_function = message.function_call.iter();
    of_tools.chain(of_function.map(|call| line(call.name.as_deref(), call.arguments.as_deref())))
}

fn line(name: Option<&str>, text: Option<&str>) -> String {
    let name = name.unwrap_or("a tool without a name");
    format!("→ {name} {}", text.unwrap_or_default())
}

fn note(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < NAMES_MAX && !names.contains(name) {
        names.insert(name.to_owned());
    }
}

fn tell(sentence: &str) {
    output::tell(format_args!("featherwire: {}\n", printable::line(sentence)));
}
