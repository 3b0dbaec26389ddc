//! The line editor of a session.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::FutureExt;
use rustyline::{
    Context, Editor, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::MemHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::sync::Notify;

use super::{
    super::{failure::Failure, output, shutdown_signal::Signals},
    command,
    continuations::Continuations,
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
    /// Ctrl-D in an empty line, or a signal, or the terminal is gone.
    End,
}

/// The line editor with its history.
pub(super) struct LineEditor {
    /// `None` while a thread reads a line.
    editor: Option<Editor<Words, MemHistory>>,
    history: Option<History>,
    seen: Arc<Seen>,
    terminal: Terminal,
}

/// What is known of the line while it is edited.
#[derive(Debug, Default)]
struct Seen {
    is_empty: AtomicBool,
    continuations: Mutex<Continuations>,
    /// The editor has the terminal.
    has_begun: Notify,
}

impl Seen {
    fn continuations<T>(&self, of: impl FnOnce(&mut Continuations) -> T) -> T {
        of(&mut self
            .continuations
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
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
        let seen = Arc::new(Seen::default());
        editor.set_helper(Some(Words {
            seen: Arc::clone(&seen),
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
            seen,
            terminal: Terminal::usual(),
        })
    }

    /// Reads a line, which may have several lines in it, or waits for a signal.
    pub(super) async fn read(&mut self, signals: &mut Signals) -> Result<Typed, Failure> {
        let Some(mut editor) = self.editor.take() else {
            return Ok(Typed::End);
        };
        self.seen.is_empty.store(true, Ordering::Relaxed);
        self.seen.continuations(Continuations::clear);
        // What the line before has left behind.
        let _ = self.seen.has_begun.notified().now_or_never();
        // The terminal is read by blocking calls.
        let mut reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline(PROMPT);
            (editor, line)
        });
        let ended = tokio::select! {
            ended = &mut reading => ended,
            _ = signals.next() => {
                // The thread keeps waiting for keys. Only after it has changed the terminal, what
                // it has changed can be undone.
                tokio::select! {
                    _ = &mut reading => {}
                    () = self.seen.has_begun.notified() => {}
                }
                self.terminal.give_back()?;
                return Ok(Typed::End);
            }
        };
        let (editor, line) = ended?;
        self.editor = Some(editor);
        match line {
            Ok(line) => {
                let line = self.seen.continuations(|signs| signs.join(line));
                self.remember(&line);
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupt {
                was_empty: self.seen.is_empty.load(Ordering::Relaxed),
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

/// The terminal as it was before the editor took it.
struct Terminal {
    #[cfg(unix)]
    usual: Option<rustix::termios::Termios>,
}

impl Terminal {
    fn usual() -> Self {
        Self {
            #[cfg(unix)]
            usual: rustix::termios::tcgetattr(io::stdin()).ok(),
        }
    }

    /// Makes the terminal usual again, and ends the line with the prompt.
    fn give_back(&self) -> Result<(), Failure> {
        #[cfg(unix)]
        if let Some(usual) = &self.usual {
            let when = rustix::termios::OptionalActions::Now;
            rustix::termios::tcsetattr(io::stdin(), when, usual)
                .map_err(|error| format!("cannot give the terminal back: {error}"))?;
        }
        output::print(format_args!("{PASTES_AS_KEYS}\n"))
    }
}

/// Ends the mode in which pasted texts are marked (xterm). The editor begins it.
const PASTES_AS_KEYS: &str = "\x1b[?2004l";

/// What the editor asks about a line.
struct Words {
    seen: Arc<Seen>,
}

impl Helper for Words {}

impl Highlighter for Words {}

impl Hinter for Words {
    type Hint = String;

    /// Gives no hint. The editor calls it for the empty line, and after each change.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.seen.is_empty.store(line.is_empty(), Ordering::Relaxed);
        self.seen.continuations(|signs| signs.follow(line));
        self.seen.has_begun.notify_one();
        None
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        // The editor asks this when Enter is pressed.
        self.seen
            .continuations(|signs| signs.enter(context.input()));
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
