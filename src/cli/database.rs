//! The database, as commands open it.

use std::io;

use super::{failure::Failure, output};
use crate::{
    config::{Database, DatabaseLocation},
    store::{Migrated, Store},
};

/// Opens the database of a command that reads or changes what is there.
///
/// # Errors
/// There is no such database, or it cannot be used.
pub(super) async fn open(database: &Database) -> Result<Store, Failure> {
    if let DatabaseLocation::File(path) = database.location()? {
        let exists = path.try_exists().map_err(|error| {
            let path = path.display();
            Failure::failed(match error.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "permission denied for the database {path}: run this command as the user who \
                     owns it"
                ),
                _ => format!("the database {path} cannot be opened: {error}"),
            })
        })?;
        if exists {
            return create(database).await;
        }
        return Err(Failure::failed(format_args!(
            "there is no database {}: `featherwire keys create` and `featherwire serve` create it. \
             FEATHERWIRE_DATABASE_URL (--database-url) or FEATHERWIRE_DATA_DIR (--data-dir) names \
             another one",
            path.display()
        )));
    }
    create(database).await
}

/// Opens the database of a command, and creates it if it does not exist.
///
/// # Errors
/// The database cannot be used.
pub(super) async fn create(database: &Database) -> Result<Store, Failure> {
    Store::try_once(&database.location()?).await?;
    Ok(create_and_migrate(database).await?.0)
}

/// As [`create`]. Tells which migrations have run.
///
/// # Errors
/// See [`create`].
pub(super) async fn create_and_migrate(database: &Database) -> Result<(Store, Migrated), Failure> {
    let location = database.location()?;
    if matches!(location, DatabaseLocation::Memory) {
        return Err(Failure::failed(
            "a database in memory ends with this command: name a file with --database-url \
             sqlite:PATH (FEATHERWIRE_DATABASE_URL), or a PostgreSQL database",
        ));
    }
    let store = Store::open(&location).await?;
    let migrated = store.migrate().await?;
    Ok((store, migrated))
}

/// Prints what a migration did.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(store: &Store, migrated: Migrated) -> Result<(), Failure> {
    let (place, Migrated { from, to }) = (store.place(), migrated);
    if from == to {
        output::print(format_args!("{place} has version {to}: nothing to do\n"))
    } else {
        output::print(format_args!(
            "{place} was at version {from} and has version {to} now\n"
        ))
    }
}
