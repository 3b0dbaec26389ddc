//! The options for the database with the keys.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;

use super::heading;

/// The name of the file in the data directory.
const FILE_NAME: &str = "featherwire.db";

/// What a URL may look like.
const EXPECTED: &str = "expected a URL such as sqlite:/var/lib/featherwire/featherwire.db, \
                        sqlite::memory: or postgres://user:password@host/database";

/// The options for the database with the keys.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::DATABASE)]
pub struct Database {
    /// The database with the keys: `sqlite:PATH`, `sqlite::memory:` (everything is forgotten at the
    /// end), or `postgres://USER:PASSWORD@HOST/DATABASE` for several gateways. Unset:
    /// `featherwire.db` in --data-dir; for the emulator `sqlite::memory:`
    #[arg(
        long,
        env = "FEATHERWIRE_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = location
    )]
    pub database_url: Option<DatabaseLocation>,

    /// The directory with the database, if --database-url is not set, and with records of calls
    /// while a PostgreSQL database is away. Unset: `featherwire` in the user's data directory (on
    /// Linux `~/.local/share`)
    #[arg(long, env = "FEATHERWIRE_DATA_DIR", value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
}

/// Where a database is.
#[derive(Clone)]
pub enum DatabaseLocation {
    /// In the memory of this process.
    Memory,
    /// SQLite, in this file.
    File(PathBuf),
    /// PostgreSQL, at this URL. It may contain a password.
    Postgres(SecretString),
}

/// Prints nothing of a URL.
impl fmt::Debug for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Postgres(_) => f.write_str("Postgres(…)"),
        }
    }
}

impl Database {
    /// Where the database is.
    ///
    /// # Errors
    /// A sentence that says what to set, if the user has no data directory.
    pub fn location(&self) -> Result<DatabaseLocation, String> {
        if let Some(location) = &self.database_url {
            return Ok(location.clone());
        }
        let directory = self.directory().ok_or(
            "there is no place for the database with the keys, because neither HOME nor \
             XDG_DATA_HOME is set: set FEATHERWIRE_DATA_DIR (--data-dir) to a directory, or \
             FEATHERWIRE_DATABASE_URL=sqlite::memory: (--database-url) to keep nothing",
        )?;
        Ok(DatabaseLocation::File(directory.join(FILE_NAME)))
    }

    /// The directory for data: `--data-dir`, or that of the user. `None` if the user has none.
    pub fn directory(&self) -> Option<PathBuf> {
        self.data_dir.clone().or_else(own_data_directory)
    }
}

/// `featherwire` in the user's data directory. `None` if the user has none.
pub(super) fn own_data_directory() -> Option<PathBuf> {
    users_data_directory(|name| env::var_os(name).map(PathBuf::from))
}

/// `featherwire` in the directory in which the user's programs keep their data.
fn users_data_directory(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))
    };
    base.map(|base| base.join("featherwire"))
}

/// Parses the URL of a database. An error does not repeat it, because it may contain a password.
fn location(text: &str) -> Result<DatabaseLocation, String> {
    let text = text.trim();
    let fix = |what: &str| Err(format!("{what}: {EXPECTED}"));
    match text.split_once(':') {
        Some(("sqlite", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            match path {
                "" => fix("the path of the file is missing"),
                ":memory:" => Ok(DatabaseLocation::Memory),
                _ if path.contains('?') => {
                    fix("the URL has a ?, but SQLite takes no parameters here")
                }
                _ if path.ends_with('/') => fix("the path is that of a directory"),
                _ => Ok(DatabaseLocation::File(Path::new(path).to_owned())),
            }
        }
        Some(("postgres" | "postgresql", _)) => match Url::parse(text) {
            Ok(url) if url.path().trim_matches('/').is_empty() => {
                fix("the name of the database is missing at the end of the URL")
            }
            Ok(url) if url.fragment().is_some() => {
                fix("the URL has a #: write %23 for this character in a password")
            }
            Ok(_) => Ok(DatabaseLocation::Postgres(SecretString::from(text))),
            Err(_) => fix(
                "this is not a URL. In a user or a password, write %40 for @, %2F for /, %3A for : \
                 and %25 for %",
            ),
        },
        _ => fix("this is no URL of SQLite or PostgreSQL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_sqlite_or_of_postgresql() {
        for (text, expected) in [
            ("sqlite::memory:", "Memory"),
            ("sqlite://:memory:", "Memory"),
            ("sqlite:a.db", "File(a.db)"),
            (" sqlite:///var/a b.db ", "File(/var/a b.db)"),
            (
                "postgres://u:secret@h:5432/d?sslmode=require",
                "Postgres(…)",
            ),
            ("postgresql://h/d", "Postgres(…)"),
        ] {
            let location = location(text).map(|location| format!("{location:?}"));
            assert_eq!(location.as_deref(), Ok(expected), "{text}");
        }
        for (text, fix) in [
            ("", "no URL"),
            ("secret.db", "no URL"),
            ("mysql://u:secret@h/d", "no URL"),
            ("sqlite:", "path of the file is missing"),
            ("sqlite:/secret/", "directory"),
            ("sqlite:secret.db?mode=rwc", "no parameters"),
            ("postgres://u:secret@h", "name of the database is missing"),
            ("postgres://u:secret@h/", "name of the database is missing"),
            ("postgres://u:sec#ret@h/d", "%"),
            ("postgres://u:secret@h:port/d", "not a URL"),
        ] {
            let message = location(text).unwrap_err();
            assert!(message.contains(fix), "{text}: {message}");
            assert!(
                message.contains("such as") && !message.contains("secret"),
                "{text}: {message}"
            );
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_data_directory_is_that_of_the_user() {
        let with = |variables: &[(&str, &str)]| {
            users_data_directory(|name| {
                let value = variables.iter().find(|(known, _)| *known == name)?.1;
                Some(PathBuf::from(value))
            })
        };
        let is = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            with(&[("HOME", "/home/a")]),
            is("/home/a/.local/share/featherwire")
        );
        let both = [("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")];
        assert_eq!(with(&both), is("/data/featherwire"));
        let relative = [("HOME", "/home/a"), ("XDG_DATA_HOME", "data")];
        assert_eq!(with(&relative), is("/home/a/.local/share/featherwire"));
        assert_eq!(with(&[]), None);
        let set = Database {
            data_dir: is("/d"),
            ..Database::default()
        };
        assert_eq!(
            format!("{:?}", set.location().unwrap()),
            "File(/d/featherwire.db)"
        );
    }
}
