//! A session: a person types prompts and commands, and reads answers.

use std::{fmt::Display, io, ops::ControlFlow, path::Path, pin::pin, process::ExitCode};

use super::{
    super::{
        failure::Failure,
        output, printable,
        shutdown_signal::{Signal, Signals},
        style::Style,
    },
    call::{Answer, Caller},
    command::{HELP, Line},
    conversation::Conversation,
    editor::{LineEditor, Typed},
    image,
};
use crate::proto::v1::ContentPart;

/// A session.
pub(super) struct Session {
    pub(super) caller: Caller,
    pub(super) conversation: Conversation,
    pub(super) editor: LineEditor,
    pub(super) signals: Signals,
    /// Those of the next prompt.
    pub(super) images: Vec<ContentPart>,
    /// What the gateway is called.
    pub(super) gateway: String,
}

impl Session {
    /// Reads and answers until the person ends the session.
    ///
    /// # Errors
    /// The terminal cannot be used any more. Failed calls do not end the session.
    pub(super) async fn run(mut self) -> Result<ExitCode, Failure> {
        note(format_args!(
            "{} at {} · /help shows the commands, Ctrl-D ends",
            self.conversation.model(),
            self.gateway
        ));
        if self.conversation.messages() > 0 {
            self.say_loaded();
        }
        // The second Ctrl-C in a row ends the session.
        let mut was_interrupted = false;
        loop {
            // While a line is edited, Ctrl-C is a key.
            self.signals.forget_interrupts();
            match self.editor.read(&mut self.signals).await? {
                Typed::End => break,
                Typed::Interrupt { was_empty: true } if was_interrupted => break,
                Typed::Interrupt { was_empty } => {
                    was_interrupted = was_empty;
                    if was_empty {
                        note("Ctrl-C again or Ctrl-D ends the session");
                    }
                }
                Typed::Line(line) => match self.line(Line::of(&line)).await? {
                    Next::Read => was_interrupted = false,
                    Next::ReadAfterInterrupt => was_interrupted = true,
                    Next::End => break,
                },
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn line(&mut self, line: Line) -> Result<Next, Failure> {
        match line {
            Line::Empty => {}
            Line::Prompt(prompt) => {
                let images = std::mem::take(&mut self.images);
                if self.conversation.ask(prompt, images) {
                    note("the prompt before this one has no answer, and is left out");
                }
                return self.answer().await;
            }
            Line::Retry if self.conversation.retry() => return self.answer().await,
            Line::Retry => complain("there is no prompt to ask again"),
            Line::Model(None) => note(self.conversation.model()),
            Line::Model(Some(model)) => {
                note(format_args!("{model} answers from now on"));
                self.conversation.set_model(model);
            }
            Line::System(None) => note(self.conversation.system().unwrap_or("no system message")),
            Line::System(Some(text)) => {
                let text = (text != "-").then_some(text);
                note(match text {
                    Some(_) => "the system message is set",
                    None => "there is no system message",
                });
                self.conversation.set_system(text);
            }
            Line::Image(path) => match image::read(&path) {
                Ok(image) => {
                    self.images.push(image);
                    let count = self.images.len();
                    note(format_args!("images of the next prompt: {count}"));
                }
                Err(problem) => complain(problem),
            },
            Line::Save(path) => match self.conversation.save(&path) {
                Ok(()) => note(format_args!("the conversation is in {}", path.display())),
                Err(problem) => complain(problem),
            },
            Line::Load(path) => self.load(&path),
            Line::Clear => {
                self.conversation.clear();
                self.images.clear();
                note("a new conversation begins");
            }
            Line::Help => output::print(HELP)?,
            Line::Quit => return Ok(Next::End),
            Line::Wrong(problem) => complain(problem),
        }
        Ok(Next::Read)
    }

    fn load(&mut self, path: &Path) {
        match Conversation::load(path) {
            Ok(conversation) => {
                self.conversation = conversation;
                self.say_loaded();
            }
            Err(problem) => complain(problem),
        }
    }

    fn say_loaded(&self) {
        let (count, model) = (self.conversation.messages(), self.conversation.model());
        note(format_args!(
            "a conversation of {count} messages with {model} goes on"
        ));
    }

    /// Asks for the answer to the last prompt, and shows it. Ctrl-C ends it, and SIGTERM the session.
    async fn answer(&mut self) -> Result<Next, Failure> {
        let mut answer = Answer::in_session();
        let outcome = {
            let call = self
                .caller
                .answer(self.conversation.request().clone(), &mut answer);
            let call = pin!(call);
            tokio::select! {
                // First, so that the signal is noticed from the beginning.
                biased;
                signal = self.signals.next() => ControlFlow::Break(signal),
                result = call => ControlFlow::Continue(result),
            }
        };
        match outcome {
            ControlFlow::Continue(Ok(())) => {
                note(answer.timing.line());
                self.conversation.answer(answer.message);
                Ok(Next::Read)
            }
            // What the person has seen of an answer is kept, so that the next prompt can go on.
            ControlFlow::Continue(Err(Failure::Failed(problem))) => {
                complain(format_args!("{problem}\n  /retry asks again"));
                self.conversation.answer(answer.message);
                Ok(Next::Read)
            }
            ControlFlow::Continue(Err(failure)) => Err(failure),
            ControlFlow::Break(signal) => {
                answer.finish(false)?;
                note("the answer was ended");
                self.conversation.answer(answer.message);
                Ok(match signal {
                    Signal::Interrupt => Next::ReadAfterInterrupt,
                    Signal::Terminate => Next::End,
                })
            }
        }
    }
}

/// What follows a line.
enum Next {
    Read,
    /// An answer was ended by Ctrl-C.
    ReadAfterInterrupt,
    End,
}

/// Tells something of little importance.
pub(super) fn note(text: impl ToString) {
    let style = Style::of(&io::stderr());
    let text = text.to_string();
    output::tell(style.dim(printable::text(&text)) + "\n");
}

fn complain(problem: impl Display) {
    output::fail(problem);
}
