//! The line editor of a session.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use rustyline::{
    Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::MemHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::{
    super::{failure::Failure, output},
    command,
    history::{self, History},
};

const PROMPT: &str = "> ";

/// What was typed.
#[derive(Debug)]
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C. What was typed in the line is forgotten.
    Interrupt {
        was_empty: bool,
    },
    /// Ctrl-D in an empty line, or the terminal is gone.
    End,
}

/// The line editor with its history.
pub(super) struct LineEditor {
    /// `None` while a thread reads a line.
    editor: Option<Editor<Words, MemHistory>>,
    history: Option<History>,
    is_empty: Arc<AtomicBool>,
}

impl LineEditor {
    /// An editor with the prompts of the history in this file.
    ///
    /// # Errors
    /// There is no usable terminal.
    pub(super) fn new(file: Option<PathBuf>) -> Result<Self, Failure> {
        let config = rustyline::Config::builder()
            .max_history_size(history::PROMPTS_MAX)?
            .history_ignore_space(true)
            .completion_type(rustyline::CompletionType::List)
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        let is_empty = Arc::new(AtomicBool::new(true));
        editor.set_helper(Some(Words {
            is_empty: Arc::clone(&is_empty),
        }));
        let history = file.and_then(|path| match History::open(path.clone()) {
            Ok((history, prompts)) => {
                for prompt in prompts {
                    // An entry that the editor refuses, such as a repeated one, is left out.
                    let _ = editor.add_history_entry(prompt);
                }
                Some(history)
            }
            Err(error) => {
                let path = path.display();
                output::tell(format_args!(
                    "featherwire: the history {path} cannot be used ({error}): this session has \
                     none\n"
                ));
                None
            }
        });
        Ok(Self {
            editor: Some(editor),
            history,
            is_empty,
        })
    }

    /// Reads a line, which may have several lines in it.
    pub(super) async fn read(&mut self) -> Result<Typed, Failure> {
        let Some(mut editor) = self.editor.take() else {
            return Ok(Typed::End);
        };
        self.is_empty.store(true, Ordering::Relaxed);
        // The terminal is read by blocking calls.
        let reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline(PROMPT);
            (editor, line)
        });
        let (editor, line) = reading.await?;
        self.editor = Some(editor);
        match line {
            Ok(line) => {
                self.remember(&line);
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupt {
                was_empty: self.is_empty.load(Ordering::Relaxed),
            }),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(Failure::failed(format_args!(
                "cannot read the terminal: {error}"
            ))),
        }
    }

    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() || !history::is_remembered(line) {
            return;
        }
        if let Some(editor) = &mut self.editor {
            let _ = editor.add_history_entry(line);
        }
        // A full disk does not end the session: only later sessions miss the line.
        if let Some(Err(_)) = self.history.as_ref().map(|history| history.add(line)) {
            self.history = None;
            output::tell("featherwire: the history cannot be written\n");
        }
    }
}

/// What the editor asks about a line.
struct Words {
    is_empty: Arc<AtomicBool>,
}

impl Helper for Words {}

impl Highlighter for Words {}

impl Hinter for Words {
    type Hint = String;

    /// Gives no hint. The editor calls it after each change.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.is_empty.store(line.is_empty(), Ordering::Relaxed);
        None
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match command::is_incomplete(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Words {
    type Candidate = String;

    /// Completes the names of commands.
    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = line.get(..position).unwrap_or_default();
        let names = command::NAMES.iter().filter(|name| name.starts_with(begun));
        let is_command = begun.starts_with('/');
        let names = names.filter(|_| is_command);
        Ok((0, names.map(|name| format!("{name} ")).collect()))
    }
}
