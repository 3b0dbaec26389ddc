//! What can go wrong with the database, in words for the owner of the gateway.

use std::{fmt, io};

use sqlx::error::{DatabaseError, Error as SqlxError};

use super::location::PlaceName;

/// An error of the database. `Display` says what happened and what to do. It contains no password.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

/// The kind of an error of the database. It tells who can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It does not answer now. Later it may.
    Unavailable,
    /// It refuses the user or the password.
    AccessDenied,
    /// It does not exist.
    Missing,
    /// It cannot be written: the disk, the file or the directory is read-only.
    ReadOnly,
    /// The disk is full.
    Full,
    /// It is no database, or a broken one.
    Corrupt,
    /// A newer version of the gateway has written it.
    Newer,
    /// Another process holds its lock for too long.
    Locked,
    /// A rule of its tables forbids the change.
    Conflict,
    /// The statement is wrong, or its result is unexpected: a bug, or a database that others
    /// have changed.
    Other,
}

impl StoreError {
    pub(super) fn new(place: &PlaceName, error: SqlxError) -> Self {
        let (kind, what) = described(&error);
        Self::of_kind(kind, place, &what)
    }

    /// A file or a directory that cannot be created.
    pub(super) fn file(place: &PlaceName, error: &io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
        let kind = match error.kind() {
            PermissionDenied | ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
            StorageFull => StoreErrorKind::Full,
            _ => StoreErrorKind::Missing,
        };
        Self::of_kind(kind, place, &error.to_string())
    }

    pub(super) fn of_kind(kind: StoreErrorKind, place: &PlaceName, what: &str) -> Self {
        let what = what.trim_end_matches('.');
        let message = match kind.advice() {
            "" => format!("{place}: {what}"),
            advice => format!("{place}: {what}. {advice}"),
        };
        Self { kind, message }
    }

    /// Its kind.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {}

impl StoreErrorKind {
    /// What to do.
    fn advice(self) -> &'static str {
        match self {
            Self::Unavailable => {
                "Check that it runs, and FEATHERWIRE_DATABASE_URL (--database-url)"
            }
            Self::AccessDenied => {
                "Check the user and the password in FEATHERWIRE_DATABASE_URL (--database-url)"
            }
            Self::Missing => {
                "Create it, or correct FEATHERWIRE_DATABASE_URL (--database-url) or \
                 FEATHERWIRE_DATA_DIR (--data-dir)"
            }
            Self::ReadOnly => {
                "The gateway must be able to write the file and its directory: change their \
                 permissions, choose another place with FEATHERWIRE_DATA_DIR (--data-dir) or \
                 FEATHERWIRE_DATABASE_URL (--database-url), or set the latter to sqlite::memory: \
                 to keep nothing"
            }
            Self::Full => "Free some space on its disk",
            Self::Corrupt => {
                "Nothing was changed: restore it from a backup, or choose another file with \
                 FEATHERWIRE_DATABASE_URL (--database-url)"
            }
            Self::Newer => {
                "Nothing was changed: use that version of Featherwire or a newer one, or another \
                 database"
            }
            Self::Locked => "Nothing was changed: try again when the other process has ended",
            Self::Conflict | Self::Other => "",
        }
    }
}

/// Whether an error says that the database can be neither reached nor written now.
pub(super) fn is_away(error: &SqlxError) -> bool {
    matches!(
        described(error).0,
        StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::ReadOnly
    )
}

/// Whether another process holds a lock of the database.
pub(super) fn is_locked(error: &SqlxError) -> bool {
    matches!(described(error).0, StoreErrorKind::Locked)
}

fn described(error: &SqlxError) -> (StoreErrorKind, String) {
    match error {
        SqlxError::Database(error) => of_database(error.as_ref()),
        SqlxError::Io(error) => (StoreErrorKind::Unavailable, error.to_string()),
        SqlxError::Tls(error) => (
            StoreErrorKind::Unavailable,
            format!("the connection cannot be encrypted ({error})"),
        ),
        SqlxError::PoolTimedOut => (StoreErrorKind::Unavailable, "it does not answer".to_owned()),
        SqlxError::PoolClosed | SqlxError::WorkerCrashed => {
            (StoreErrorKind::Unavailable, "it is closed".to_owned())
        }
        // Their text may contain a part of the URL.
        SqlxError::Configuration(_) => (
            StoreErrorKind::Other,
            "the URL has a parameter that is not known".to_owned(),
        ),
        other => (StoreErrorKind::Other, other.to_string()),
    }
}

fn of_database(error: &dyn DatabaseError) -> (StoreErrorKind, String) {
    let code = error.code().unwrap_or_default();
    let kind = if error
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .is_some()
    {
        of_postgres(&code)
    } else {
        of_sqlite(&code)
    };
    (kind, error.message().to_owned())
}

/// The kind of an SQLSTATE of PostgreSQL.
fn of_postgres(code: &str) -> StoreErrorKind {
    match code {
        "3D000" => StoreErrorKind::Missing,
        "25006" => StoreErrorKind::ReadOnly,
        "53100" => StoreErrorKind::Full,
        "55P03" | "40P01" => StoreErrorKind::Locked,
        "42501" => StoreErrorKind::AccessDenied,
        _ => match code.get(..2) {
            Some("08" | "53" | "57") => StoreErrorKind::Unavailable,
            Some("28") => StoreErrorKind::AccessDenied,
            Some("23") => StoreErrorKind::Conflict,
            _ => StoreErrorKind::Other,
        },
    }
}

/// The kind of a result code of SQLite. The lowest byte of an extended code is the code.
fn of_sqlite(code: &str) -> StoreErrorKind {
    match code.parse::<u32>().unwrap_or_default() & 0xff {
        // SQLITE_BUSY and SQLITE_LOCKED
        5 | 6 => StoreErrorKind::Locked,
        // SQLITE_PERM, SQLITE_READONLY and SQLITE_CANTOPEN
        3 | 8 | 14 => StoreErrorKind::ReadOnly,
        // SQLITE_IOERR
        10 => StoreErrorKind::Unavailable,
        // SQLITE_FULL
        13 => StoreErrorKind::Full,
        // SQLITE_CORRUPT and SQLITE_NOTADB
        11 | 26 => StoreErrorKind::Corrupt,
        // SQLITE_CONSTRAINT
        19 => StoreErrorKind::Conflict,
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_code_of_sqlite_has_the_kind_of_its_code() {
        // SQLITE_READONLY_DIRECTORY, SQLITE_BUSY_SNAPSHOT and SQLITE_CONSTRAINT_UNIQUE
        assert_eq!(of_sqlite("1544"), StoreErrorKind::ReadOnly);
        assert_eq!(of_sqlite("517"), StoreErrorKind::Locked);
        assert_eq!(of_sqlite("2067"), StoreErrorKind::Conflict);
        assert_eq!(of_sqlite("26"), StoreErrorKind::Corrupt);
    }

    #[test]
    fn the_class_of_an_sqlstate_decides_where_the_code_does_not() {
        assert_eq!(of_postgres("28P01"), StoreErrorKind::AccessDenied);
        assert_eq!(of_postgres("57P03"), StoreErrorKind::Unavailable);
        assert_eq!(of_postgres("53100"), StoreErrorKind::Full);
        assert_eq!(of_postgres("23505"), StoreErrorKind::Conflict);
        assert_eq!(of_postgres(""), StoreErrorKind::Other);
    }
}
