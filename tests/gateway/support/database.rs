//! Databases for tests: SQLite in a folder of its own, and PostgreSQL if the tests are given one.

use featherwire::config::DatabaseLocation;
use secrecy::SecretString;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

use super::program::{Ended, Folder, featherwire, run};

/// The URL of a PostgreSQL server on which the tests may create databases. `tests/postgres/run`
/// sets it.
const POSTGRES: &str = "FEATHERWIRE_TEST_POSTGRES_URL";

/// An empty database.
pub struct Database {
    pub url: String,
    /// Deletes the file at the end. PostgreSQL's databases end with its server.
    _folder: Option<Folder>,
}

impl Database {
    /// An empty SQLite database.
    pub fn sqlite() -> Self {
        let folder = Folder::new();
        Self {
            url: format!("sqlite:{}", folder.0.join("keys.db").display()),
            _folder: Some(folder),
        }
    }

    /// An empty database of each kind.
    pub async fn each() -> Vec<Self> {
        let mut all = vec![Self::sqlite()];
        if let Ok(server) = std::env::var(POSTGRES) {
            all.push(Self::postgres(&server).await);
        }
        all
    }

    async fn postgres(server: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let options: PgConnectOptions = server.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let (start, _) = server.rsplit_once('/').unwrap();
        Self {
            url: format!("{start}/{name}"),
            _folder: None,
        }
    }

    /// Runs a statement in an SQLite database, as another program would.
    pub async fn execute(&self, statement: &'static str) {
        let options: SqliteConnectOptions = self.url.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let run = sqlx::raw_sql(statement).execute(&mut connection).await;
        run.unwrap();
        connection.close().await.unwrap();
    }

    /// Where it is.
    pub fn location(&self) -> DatabaseLocation {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => DatabaseLocation::File(path.into()),
            None => DatabaseLocation::Postgres(SecretString::from(self.url.as_str())),
        }
    }

    /// Runs `featherwire keys` with these arguments on the database.
    pub async fn keys(&self, arguments: &[&str]) -> Ended {
        let mut command = featherwire(&["keys"]);
        run(command
            .args(arguments)
            .env("FEATHERWIRE_DATABASE_URL", &self.url))
        .await
    }

    /// The same with `--json`: the printed value.
    pub async fn keys_json(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        let ended = self.keys(&arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    }
}
