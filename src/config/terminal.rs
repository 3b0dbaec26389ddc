//! What the environment says of the terminal, and where sessions keep what was typed.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;

use super::database::own_data_directory;

/// The name of the file in the user's data directory.
const FILE_NAME: &str = "chat-history";

/// In place of a file: nothing is kept.
const NONE: &str = "none";

/// Whether the user wants colours in terminals (<https://no-color.org>).
pub fn allows_colours() -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && !is_dumb()
}

/// Whether the terminal says that it has no control sequences.
pub fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The option for the history of sessions.
#[derive(Args, Clone, Debug)]
pub struct ChatHistory {
    /// The file with the last prompts of sessions, which only its owner may read; `none` keeps
    /// nothing. Unset: `chat-history` in `featherwire` in the user's data directory
    #[arg(long, env = "FEATHERWIRE_CHAT_HISTORY", value_name = "FILE")]
    history: Option<PathBuf>,
}

impl ChatHistory {
    /// The file. `None` if nothing is kept, or if the user has no data directory.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.history {
            Some(path) if path == Path::new(NONE) => None,
            Some(path) => Some(path.clone()),
            None => own_data_directory().map(|directory| directory.join(FILE_NAME)),
        }
    }
}
