//! `featherwire chat`: streams an answer into the terminal, from a running gateway by gRPC.

use std::{
    io::{ErrorKind, IsTerminal, Read},
    process::ExitCode,
};

use clap::Args;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};

use super::{client, failure::Failure, output};
use crate::{
    config,
    proto::v1::{
        ChatDelta, ChatMessage, CreateChatCompletionRequest, ToolCall,
        chat_service_client::ChatServiceClient,
    },
    service::headers,
};

/// Streams an answer into the terminal, through a running gateway by gRPC. The answer is written to
/// standard output, and reasoning to standard error. An incomplete answer ends with an error.
#[derive(Args, Debug)]
pub struct Chat {
    /// The prompt, in one or more words. `-` reads it from standard input, and so does an absent
    /// prompt if standard input is a pipe. After `--`, words may begin with a dash
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,

    /// The model to ask
    #[arg(
        long,
        short,
        env = "FEATHERWIRE_MODEL",
        value_name = "ID",
        default_value = "meta-llama/Meta-Llama-3.1-8B-Instruct"
    )]
    model: String,

    /// A system message before the prompt
    #[arg(long, short, value_name = "TEXT")]
    system: Option<String>,

    /// The sampling temperature, from 0 to 2
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,

    /// The largest number of tokens to generate
    #[arg(long, value_name = "N")]
    max_tokens: Option<i32>,

    /// Models that answer if the model fails, in order, comma-separated, or `none`
    #[arg(long, value_name = "IDS", value_parser = header)]
    fallback: Option<MetadataValue<Ascii>>,

    /// The class in the queue for units: interactive, default or batch
    #[arg(long, value_name = "NAME", value_parser = ["interactive", "default", "batch"])]
    priority: Option<String>,

    #[command(flatten)]
    gateway: config::Gateway,
}

impl Chat {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let prompt = match Prompt::of(&self.prompt, std::io::stdin().is_terminal())? {
            Prompt::Words(words) => words,
            Prompt::StandardInput => read_prompt()?,
        };
        if prompt.trim().is_empty() {
            return Err(Failure::Usage(NOTHING_TO_ASK.to_owned()));
        }
        let message = |role: &str, text: String| ChatMessage {
            role: role.to_owned(),
            content: Some(text),
            ..ChatMessage::default()
        };
        let system = self.system.map(|system| message("system", system));
        let request = CreateChatCompletionRequest {
            model: self.model,
            messages: system
                .into_iter()
                .chain([message("user", prompt)])
                .collect(),
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            ..CreateChatCompletionRequest::default()
        };
        let mut request = Request::new(request);
        let priority = self
            .priority
            .map(|priority| header(&priority))
            .transpose()?;
        for (name, value) in [
            (headers::FALLBACK, self.fallback),
            (headers::PRIORITY, priority),
        ] {
            value.map(|value| request.metadata_mut().insert(name, value));
        }
        let (channel, key) = client::connect(&self.gateway).await?;
        let mut client = ChatServiceClient::with_interceptor(channel, key)
            .max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        let reply = client
            .stream_chat_completion(request)
            .await
            .map_err(|status| client::failure(&status))?;
        let mut stream = reply.into_inner();
        let mut terminal = Terminal::default();
        loop {
            match stream.message().await {
                Ok(Some(chunk)) => {
                    for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
                        terminal.show(choice.delta.unwrap_or_default())?;
                        if choice.finish_reason.as_deref() == Some("length") {
                            terminal.was_too_long = true;
                        }
                    }
                }
                Ok(None) => break,
                Err(status) => {
                    terminal.finish()?;
                    return Err(client::failure(&status));
                }
            }
        }
        terminal.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The value of an option as metadata of the call.
fn header(text: &str) -> Result<MetadataValue<Ascii>, String> {
    text.parse()
        .map_err(|_| "expected plain text, such as org/model".to_owned())
}

/// The largest prompt that is read from standard input. The gateway takes 32 MiB unless it is
/// configured otherwise.
const PROMPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

const NOTHING_TO_ASK: &str = "the prompt is missing: write it after the command (`featherwire chat \
                              Say hello`), redirect a file (`featherwire chat < prompt.txt`), or \
                              type it (`featherwire chat -`, with Ctrl-D at the end)";

/// The source of the prompt.
#[derive(Debug)]
enum Prompt {
    Words(String),
    StandardInput,
}

impl Prompt {
    fn of(words: &[String], is_terminal: bool) -> Result<Self, Failure> {
        match words {
            [] if is_terminal => Err(Failure::Usage(NOTHING_TO_ASK.to_owned())),
            [] => Ok(Self::StandardInput),
            [dash] if dash == "-" => Ok(Self::StandardInput),
            words => Ok(Self::Words(words.join(" "))),
        }
    }
}

fn read_prompt() -> Result<String, Failure> {
    let mut prompt = String::new();
    let read = std::io::stdin()
        .lock()
        .take(PROMPT_BYTES_MAX + 1)
        .read_to_string(&mut prompt);
    match read.map(u64::try_from) {
        Ok(Ok(length)) if length <= PROMPT_BYTES_MAX => Ok(prompt),
        Ok(_) => Err(Failure::failed(format_args!(
            "standard input is longer than {PROMPT_BYTES_MAX} bytes"
        ))),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Failure::failed(
            "standard input is not UTF-8 text: convert the prompt to UTF-8",
        )),
        Err(error) => Err(Failure::failed(format_args!(
            "cannot read standard input: {error}"
        ))),
    }
}

/// The state of the output, on which the next output depends.
#[derive(Default)]
struct Terminal {
    reasoning: bool,
    needs_line_end: bool,
    was_too_long: bool,
}

impl Terminal {
    fn show(&mut self, delta: ChatDelta) -> Result<(), Failure> {
        if let Some(reasoning) = delta.reasoning_content.or(delta.reasoning) {
            self.reasoning = true;
            output::tell(reasoning);
        }
        if let Some(text) = delta.content
            && !text.is_empty()
        {
            self.answer(&text)?;
        }
        for ToolCall { function, .. } in delta.tool_calls {
            let function = function.unwrap_or_default();
            if let Some(name) = function.name {
                self.answer(&format!("→ {name} "))?;
            }
            self.answer(&function.arguments.unwrap_or_default())?;
        }
        Ok(())
    }

    fn answer(&mut self, text: &str) -> Result<(), Failure> {
        if std::mem::take(&mut self.reasoning) {
            output::tell("\n\n");
        }
        self.needs_line_end = !text.ends_with('\n');
        output::print(text)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.needs_line_end) {
            output::print("\n")?;
        }
        if self.was_too_long {
            output::tell("featherwire: the answer ended at its length limit (--max-tokens)\n");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_reads_the_terminal_only_when_the_prompt_is_a_dash() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let message = Prompt::of(&[], true).unwrap_err();
        assert!(matches!(
            message,
            Failure::Usage(message) if message.contains("featherwire chat Say hello")
        ));
        assert!(matches!(Prompt::of(&[], false), Ok(Prompt::StandardInput)));
        assert!(matches!(
            Prompt::of(&words(&["-"]), true),
            Ok(Prompt::StandardInput)
        ));
        assert!(matches!(
            Prompt::of(&words(&["a", "-"]), true),
            Ok(Prompt::Words(text)) if text == "a -"
        ));
    }
}
