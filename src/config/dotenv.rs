//! The file `.env` in the working directory.

use std::path::PathBuf;

/// Reads `.env` in the working directory, if there is one. What is already in the environment wins.
///
/// # Errors
/// A sentence that names the bad line, without its value.
pub fn read_dotenv() -> Result<Option<PathBuf>, String> {
    match dotenvy::from_path(".env") {
        Ok(()) => Ok(Some(PathBuf::from(".env"))),
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(dotenvy::Error::LineParse(_, position)) => {
            Err(format!(".env has a line that is not NAME=value (at character {position} of the line)"))
        }
        Err(error) => Err(format!(".env can't be read: {error}")),
    }
}
