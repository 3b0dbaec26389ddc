//! `featherwire chat`: an answer into the terminal, through a running gateway by gRPC.

use std::{
    io::{IsTerminal, Read, Write},
    process::ExitCode,
};

use clap::Args;

use super::{Failure, client};
use crate::{
    config,
    proto::v1::{
        ChatDelta, ChatMessage, CreateChatCompletionRequest, ToolCall, chat_delta, chat_message,
        chat_service_client::ChatServiceClient,
    },
};

/// Streams an answer into the terminal, through a running gateway by gRPC. Reasoning goes to standard error, the answer
/// to standard output; an answer that was cut short ends with an error.
#[derive(Args, Debug)]
pub struct Chat {
    /// What to say; without it, standard input
    prompt: Option<String>,

    /// The model to ask
    #[arg(
        long,
        short,
        env = "FEATHERWIRE_MODEL",
        value_name = "ID",
        default_value = "meta-llama/Meta-Llama-3.1-8B-Instruct"
    )]
    model: String,

    /// A system message to begin with
    #[arg(long, short, value_name = "TEXT")]
    system: Option<String>,

    /// Randomness, 0 to 2
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,

    /// Most tokens to generate
    #[arg(long, value_name = "N")]
    max_tokens: Option<i32>,

    #[command(flatten)]
    gateway: config::Gateway,
}

impl Chat {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let prompt = match self.prompt.clone() {
            Some(prompt) => prompt,
            None => read_prompt()?,
        };
        if prompt.trim().is_empty() {
            return Err("nothing to ask: give a prompt, in quotes, or write it to standard input".into());
        }
        let message = |role: &str, text: String| ChatMessage {
            role: role.to_owned(),
            body: Some(chat_message::Body::Content(text)),
            ..ChatMessage::default()
        };
        let system = self.system.map(|system| message("system", system));
        let request = CreateChatCompletionRequest {
            model: self.model,
            messages: system.into_iter().chain([message("user", prompt)]).collect(),
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            ..CreateChatCompletionRequest::default()
        };
        let (channel, key) = client::connect(&self.gateway).await?;
        let mut client =
            ChatServiceClient::with_interceptor(channel, key).max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        let reply = client.stream_chat_completion(request).await.map_err(|status| client::failure(&status))?;
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
                    terminal.end()?;
                    return Err(client::failure(&status));
                }
            }
        }
        terminal.end()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read_prompt() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        eprintln!("What shall I ask? End with Ctrl-D.");
    }
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt)?;
    Ok(prompt)
}

/// What has been shown so far, as far as it matters for what comes.
#[derive(Default)]
struct Terminal {
    reasoning: bool,
    needs_line_end: bool,
    was_too_long: bool,
}

impl Terminal {
    fn show(&mut self, delta: ChatDelta) -> std::io::Result<()> {
        if let Some(thought) = delta.reasoning_content.or(delta.reasoning) {
            self.reasoning = true;
            eprint!("{thought}");
        }
        if let Some(chat_delta::Body::Content(text)) = delta.body
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

    fn answer(&mut self, text: &str) -> std::io::Result<()> {
        if std::mem::take(&mut self.reasoning) {
            eprintln!("\n");
        }
        self.needs_line_end = !text.ends_with('\n');
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn end(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.needs_line_end) {
            writeln!(std::io::stdout())?;
        }
        if self.was_too_long {
            eprintln!("featherwire: the answer reached its greatest length (--max-tokens)");
        }
        Ok(())
    }
}
