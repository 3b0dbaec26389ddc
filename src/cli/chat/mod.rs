//! `featherwire chat`: streams answers into the terminal, from a running gateway by gRPC: to one
//! prompt, or in a session.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};

use self::{
    call::{Answer, Caller, Metadata},
    conversation::Conversation,
    editor::LineEditor,
    prompt::{NOTHING_TO_ASK, Prompt, Terminals},
    session::Session,
};
use super::{arguments, client, failure::Failure, progress::Progress, shutdown_signal::Signals};
use crate::{config, proto::v1::CreateChatCompletionRequest, service::headers};

mod call;
mod command;
mod continuations;
mod conversation;
mod editor;
mod history;
mod image;
mod prompt;
mod session;
mod timing;
mod view;

/// Streams an answer into the terminal, through a running gateway by gRPC. The answer is written to
/// standard output, and reasoning to standard error. An incomplete answer ends with an error.
/// Without a prompt, in a terminal, a session begins: its `/help` shows what can be typed.
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

    /// An image to send with the prompt: PNG, JPEG, GIF or WebP, at most 20 MiB. May be repeated
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,

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

    /// Print the chunks of the answer as JSON, an object on each line. The last ones have the usage
    /// and the report of the call
    #[arg(long)]
    json: bool,

    /// Continue the conversation in a file of the command /save, with its model unless --model is
    /// given
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,

    #[command(flatten)]
    history: config::ChatHistory,

    #[command(flatten)]
    gateway: config::Gateway,
}

impl Chat {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let terminals = Terminals {
            input: io::stdin().is_terminal(),
            output: io::stdout().is_terminal(),
        };
        let prompt = match Prompt::of(&self.prompt, terminals)? {
            Prompt::Words(words) => Some(words),
            Prompt::StandardInput => Some(prompt::read()?),
            Prompt::Session if self.json => None,
            Prompt::Session => return self.session().await,
        };
        let prompt = prompt.filter(|prompt| !prompt.trim().is_empty());
        let prompt = prompt.ok_or_else(|| Failure::Usage(NOTHING_TO_ASK.to_owned()))?;
        let images = image::read_all(&self.image)?;
        let mut conversation = self.conversation()?;
        // The prompt of a file without an answer is left out too. This call is not a session.
        let _ = conversation.ask(prompt, images);
        let caller = self.caller().await?;
        let mut answer = match self.json {
            true => Answer::as_json(),
            false => Answer::as_text(),
        };
        caller
            .answer(conversation.request().clone(), &mut answer)
            .await?;
        if terminals.output && io::stderr().is_terminal() && !self.json {
            session::note(answer.timing.line());
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn session(self) -> Result<ExitCode, Failure> {
        let session = Session {
            images: image::read_all(&self.image)?,
            conversation: self.conversation()?,
            caller: self.caller().await?,
            editor: LineEditor::new(self.history.file())?,
            signals: Signals::listen(),
            gateway: self.gateway.gateway,
        };
        session.run().await
    }

    /// The conversation before the first prompt.
    fn conversation(&self) -> Result<Conversation, Failure> {
        let mut conversation = match &self.load {
            Some(path) => Conversation::load(path)?,
            None => Conversation::new(CreateChatCompletionRequest::default()),
        };
        if self.load.is_none() || is_model_given() {
            conversation.set_model(self.model.clone());
        }
        if let Some(system) = &self.system {
            conversation.set_system(Some(system.clone()));
        }
        conversation.set_options(self.temperature, self.max_tokens);
        Ok(conversation)
    }

    async fn caller(&self) -> Result<Caller, Failure> {
        let mut metadata = Metadata::new();
        if let Some(fallback) = &self.fallback {
            metadata.push((headers::FALLBACK, fallback.clone()));
        }
        if let Some(priority) = &self.priority {
            metadata.push((headers::PRIORITY, header(priority)?));
        }
        let progress = match io::stdout().is_terminal() {
            true => Progress::start(format!("connecting to {}", self.gateway.gateway)),
            false => Progress::hidden(),
        };
        let (channel, key) = client::connect(&self.gateway).await?;
        drop(progress);
        Ok(Caller::new(&channel, &key, metadata))
    }
}

/// Whether the command line names the model. Its default does not count before that of a file.
fn is_model_given() -> bool {
    arguments::is_on_command_line(&clap::Arg::new("model").short('m'), "--model")
}

/// The value of an option as metadata of the call.
fn header(text: &str) -> Result<MetadataValue<Ascii>, String> {
    text.parse()
        .map_err(|_| "expected plain text, such as org/model".to_owned())
}
