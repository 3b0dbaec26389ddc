//! The database is locked, stopped or full: no record is lost or counted twice.

use featherwire::{
    config::DatabaseLocation,
    keys::{Actor, Directory, KeySettings, Refresh, Repository, Role, SecretKind},
    ledger::{Queries, Settings, Writer},
    store::Store,
};
use secrecy::ExposeSecret;
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{all, send, settings, total, until_calls};
use crate::{
    key_limits::json_of,
    support::{
        Database, Emulator, Gate, Gateway, MODEL, poll,
        program::Folder,
        prompt,
        rest::{http, with_json},
    },
};

/// An SQLite database in a folder, which can be locked as by another process.
struct Shelf {
    folder: Folder,
    store: Store,
    queries: Queries,
}

impl Shelf {
    async fn new() -> Self {
        let folder = Folder::new();
        let location = DatabaseLocation::File(folder.0.join("ledger.db"));
        let store = Store::open(&location).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            queries: Queries::new(store.clone()),
            folder,
            store,
        }
    }

    /// Nobody can write while the result lives.
    async fn lock(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.folder.0.join("ledger.db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE")
            .execute(&mut connection)
            .await
            .unwrap();
        connection
    }

    async fn writer(&self) -> Writer {
        Writer::start(self.store.clone(), settings(Some(&self.folder))).await
    }

    fn spill_files(&self) -> usize {
        spill_files(&self.folder)
    }
}

fn spill_files(folder: &Folder) -> usize {
    let entries = std::fs::read_dir(&folder.0).unwrap();
    entries
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().ends_with(".spill")
        })
        .count()
}

#[tokio::test]
async fn records_wait_in_files_while_the_database_is_locked_and_then_follow() {
    let shelf = Shelf::new().await;
    let writer = shelf.writer().await;
    let ledger = writer.ledger();
    send(&ledger, 10);
    until_calls(&shelf.queries, 10).await;
    let lock = shelf.lock().await;
    send(&ledger, 2500);
    poll::until("there is a file", async || shelf.spill_files() == 1).await;
    send(&ledger, 5);
    assert_eq!(total(&shelf.queries).await.calls, 10);
    drop(lock);
    until_calls(&shelf.queries, 2515).await;
    poll::until("the file is gone", async || shelf.spill_files() == 0).await;
    assert_eq!(all(&shelf.queries).await.len(), 2515);
    // What follows is written as before.
    send(&ledger, 1);
    until_calls(&shelf.queries, 2516).await;
}

#[tokio::test]
async fn a_gateway_that_starts_takes_over_the_records_of_the_one_before() {
    let shelf = Shelf::new().await;
    let lock = shelf.lock().await;
    let writer = shelf.writer().await;
    send(&writer.ledger(), 1200);
    // The database is away until after its end.
    writer.end().await;
    assert_eq!(shelf.spill_files(), 1);
    drop(lock);
    let next = shelf.writer().await;
    until_calls(&shelf.queries, 1200).await;
    poll::until("the file is gone", async || shelf.spill_files() == 0).await;
    next.end().await;
}

#[tokio::test]
async fn the_end_of_a_writer_writes_all_that_it_has() {
    let shelf = Shelf::new().await;
    let writer = shelf.writer().await;
    send(&writer.ledger(), 3500);
    writer.end().await;
    // A database that was slow at the end gets them from a file.
    let next = shelf.writer().await;
    until_calls(&shelf.queries, 3500).await;
    next.end().await;
}

#[tokio::test]
async fn without_room_for_records_only_keys_with_budgets_are_refused() {
    let shelf = Shelf::new().await;
    let repository = Repository::new(shelf.store.clone());
    let mut secrets = Vec::new();
    for limits in [
        r#"{"budgets":[{"of":"tokens","amount":100000,"per":"day"}]}"#,
        "{}",
    ] {
        let mut settings = KeySettings::named("app".to_owned());
        settings.limits = serde_json::from_str(limits).unwrap();
        let (_, new) = repository
            .create(&Actor::Local, Role::Inference, SecretKind::Live, settings)
            .await
            .unwrap();
        secrets.push(new.secret.expose_secret().to_owned());
    }
    let keys = Directory::new(&[], &[]);
    let _refresh = Refresh::start(keys.clone(), repository).await.unwrap();
    let small = Settings {
        spill_bytes_max: 1,
        ..settings(Some(&shelf.folder))
    };
    let writer = Writer::start(shelf.store.clone(), small).await;
    let ledger = writer.ledger();
    let emulator = Emulator::start().await;
    let parts = (keys, ledger.clone());
    let gateway = Gateway::with_parts(emulator.address, parts, |_| {}).await;
    let call = async |secret: &str| {
        let call = with_json(
            http().post(gateway.url("/v1/chat/completions")),
            prompt(MODEL, "hi").to_string(),
        );
        call.bearer_auth(secret).send().await.unwrap()
    };
    assert_eq!(call(&secrets[0]).await.status(), 200);
    until_calls(&shelf.queries, 1).await;

    let lock = shelf.lock().await;
    send(&ledger, 70_000);
    assert!(!ledger.has_room());
    let refused = call(&secrets[0]).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let (_, body) = json_of(refused).await;
    assert_eq!(body["error"]["code"], "ledger_unavailable");
    assert_eq!(call(&secrets[1]).await.status(), 200);

    drop(lock);
    poll::until("there is room again", async || ledger.has_room()).await;
    assert_eq!(call(&secrets[0]).await.status(), 200);
    // All that found room: the queue was full.
    poll::until("the records are written", async || {
        call_count(&shelf.store).await > 65_536
    })
    .await;
    writer.end().await;
    let calls = total(&shelf.queries).await.calls;
    assert!(calls < 70_003, "{calls}");
    assert_eq!(call_count(&shelf.store).await, calls);
}

async fn call_count(store: &Store) -> u64 {
    let featherwire::store::Pool::Sqlite(pool) = store.pool() else {
        panic!("the tests use SQLite");
    };
    let count: i64 = sqlx::query_scalar("SELECT SUM(calls) FROM featherwire_call_blocks")
        .fetch_one(pool)
        .await
        .unwrap();
    u64::try_from(count).unwrap()
}

#[tokio::test]
async fn records_wait_in_files_while_postgres_is_stopped() {
    for database in Database::each().await {
        let DatabaseLocation::Postgres(_) = database.location() else {
            continue;
        };
        let direct = Store::open(&database.location()).await.unwrap();
        direct.migrate().await.unwrap();
        let queries = Queries::new(direct);
        let (gate, behind) = Gate::to(&database).await;
        let store = Store::open(&behind).await;
        let folder = Folder::new();
        let writer = Writer::start(store.unwrap(), settings(Some(&folder))).await;
        let ledger = writer.ledger();
        send(&ledger, 10);
        until_calls(&queries, 10).await;
        gate.close();
        send(&ledger, 2000);
        poll::until("there is a file", async || spill_files(&folder) == 1).await;
        gate.open();
        until_calls(&queries, 2010).await;
        poll::until("the file is gone", async || spill_files(&folder) == 0).await;
        send(&ledger, 7);
        writer.end().await;
        assert_eq!(total(&queries).await.calls, 2017);
    }
}
