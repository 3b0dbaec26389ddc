//! What messages call a database. It contains no password.

use std::fmt;

use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

use crate::config::DatabaseLocation;

/// What messages call a database, such as "the PostgreSQL database keys at host:5432".
#[derive(Clone, Debug)]
pub(super) struct PlaceName(String);

impl PlaceName {
    pub(super) fn of(location: &DatabaseLocation) -> Self {
        Self(match location {
            DatabaseLocation::Memory => "the database in memory".to_owned(),
            DatabaseLocation::File(path) => format!("the SQLite database {}", path.display()),
            DatabaseLocation::Postgres(url) => match url.expose_secret().parse() {
                Ok(options) => Self::of_postgres(&options),
                Err(_) => "the PostgreSQL database".to_owned(),
            },
        })
    }

    fn of_postgres(options: &PgConnectOptions) -> String {
        let database = options
            .get_database()
            .unwrap_or_else(|| options.get_username());
        let (host, port) = (options.get_host(), options.get_port());
        format!("the PostgreSQL database {database} at {host}:{port}")
    }
}

impl fmt::Display for PlaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
