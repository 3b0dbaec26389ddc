//! The database of the gateway: where it is, how it comes to be, and what is said if it cannot be
//! used.

use featherwire::{
    keys::{Directory, Refresh, Repository},
    ledger::{Queries, Settings, UsageQuery, Writer},
    store::{BeginWrite, Pool, Store},
};
use futures_util::FutureExt;
use sqlx::pool::PoolConnection;

use crate::{
    key_limits::post,
    keys::text,
    support::{
        Database, Emulator, Gateway, MODEL, poll,
        program::{Folder, featherwire, run, started},
        prompt,
    },
};

#[tokio::test]
async fn the_database_is_created_where_the_options_say() {
    let folder = Folder::new();
    let directory = folder.0.join("data");
    let home = folder.0.join("home");
    for (variable, value, file) in [
        (
            "FEATHERWIRE_DATA_DIR",
            &directory,
            directory.join("featherwire.db"),
        ),
        (
            "XDG_DATA_HOME",
            &home,
            home.join("featherwire/featherwire.db"),
        ),
        (
            "HOME",
            &home,
            home.join(".local/share/featherwire/featherwire.db"),
        ),
    ] {
        if variable != "FEATHERWIRE_DATA_DIR" && cfg!(not(target_os = "linux")) {
            continue;
        }
        let mut command = featherwire(&["keys", "create", "--name", "app"]);
        command
            .env_remove("FEATHERWIRE_DATABASE_URL")
            .env(variable, value);
        let created = run(&mut command).await;
        assert_eq!(created.code, Some(0), "{variable}: {}", created.err);
        assert!(file.exists(), "{variable}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode =
                |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&file), 0o600, "{variable}");
            assert_eq!(mode(file.parent().unwrap()), 0o700, "{variable}");
        }
    }
    let mut homeless = featherwire(&["serve"]);
    let homeless = run(homeless.env_remove("FEATHERWIRE_DATABASE_URL")).await;
    assert_eq!(homeless.code, Some(1));
    assert!(
        homeless.err.contains("FEATHERWIRE_DATA_DIR (--data-dir)"),
        "{}",
        homeless.err
    );
    // The emulator keeps nothing unless it is told to.
    let mut emulator = featherwire(&["serve", "--emulator", "--listen", "127.0.0.1:0"]);
    emulator.env_remove("FEATHERWIRE_DATABASE_URL");
    let (_child, address, _) = started(emulator).await;
    assert!(address.starts_with("http://"));
}

#[tokio::test]
async fn migrate_creates_the_tables_and_then_finds_nothing_to_do() {
    for database in Database::each().await {
        let migrate = async || {
            let mut command = featherwire(&["migrate"]);
            run(command.env("FEATHERWIRE_DATABASE_URL", &database.url)).await
        };
        // Several gateways may start together.
        let ended = futures_util::future::join_all((0..4).map(|_| migrate())).await;
        let outs = ended.iter().map(|ended| {
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            ended.out.contains("nothing to do")
        });
        let idle = outs.filter(|has_done_nothing| *has_done_nothing).count();
        assert_eq!(idle, 3, "one creates the tables");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_with_what_to_do_and_stays_as_it_is() {
    let folder = Folder::new();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let not_a_database = path("text.db");
    std::fs::write(
        &not_a_database,
        "not a database, but long enough to be read as one\n".repeat(99),
    )
    .unwrap();
    let below_a_file = format!("sqlite:{not_a_database}/keys.db");
    let missing = path("missing.db");
    for (command, url, words) in [
        (
            "keys create --name a",
            format!("sqlite:{not_a_database}"),
            "restore it",
        ),
        (
            "serve",
            format!("sqlite:{not_a_database}"),
            "Nothing was changed",
        ),
        (
            "keys create --name a",
            below_a_file.clone(),
            "--database-url",
        ),
        (
            "keys create --name a",
            format!("sqlite:{}", folder.0.display()),
            "--database-url",
        ),
        (
            "keys list",
            format!("sqlite:{missing}"),
            "there is no database",
        ),
        (
            "keys list",
            "sqlite::memory:".to_owned(),
            "ends with this command",
        ),
        (
            "keys list",
            "postgres://user:secret@127.0.0.1:1/none".to_owned(),
            "Check that it runs",
        ),
        (
            "serve",
            "postgres://user:secret@127.0.0.1:1/none".to_owned(),
            "the PostgreSQL database none at 127.0.0.1:1",
        ),
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let mut command = featherwire(&arguments);
        let ended = run(command.env("FEATHERWIRE_DATABASE_URL", &url)).await;
        assert_eq!(ended.code, Some(1), "{url}: {}", ended.err);
        assert!(ended.err.contains(words), "{url}: {}", ended.err);
        assert!(!ended.err.contains("secret"), "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
    assert!(!std::path::Path::new(&missing).exists());
    let text = std::fs::read_to_string(&not_a_database).unwrap();
    assert!(text.starts_with("not a database") && text.lines().count() == 99);

    for (url, words) in [
        ("mysql://user:secret@host/db", "sqlite:"),
        ("postgres://user:secret@host", "name of the database"),
        ("secret.db", "sqlite:"),
    ] {
        for arguments in [&["serve"][..], &["migrate"], &["keys", "list"]] {
            let mut command = featherwire(arguments);
            let ended = run(command.args(["--database-url", url])).await;
            assert_eq!(ended.code, Some(2), "{url}: {}", ended.err);
            let says = ended.err.contains(words) && ended.err.contains("(--database-url)");
            assert!(
                says && !ended.err.contains("secret"),
                "{url}: {}",
                ended.err
            );
        }
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    for database in Database::each().await {
        database.keys_json(&["create", "--name", "app"]).await;
        let insert = "INSERT INTO featherwire_migrations (version, applied_by) VALUES (999, '9.9')";
        if let Some(path) = database.url.strip_prefix("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
            sqlx::raw_sql(insert).execute(&pool).await.unwrap();
            pool.close().await;
        } else {
            let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
            sqlx::raw_sql(insert).execute(&pool).await.unwrap();
            pool.close().await;
        }
        for arguments in [
            &["serve", "--emulator"][..],
            &["migrate"],
            &["keys", "list"],
        ] {
            let mut command = featherwire(arguments);
            let ended = run(command.env("FEATHERWIRE_DATABASE_URL", &database.url)).await;
            assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.err);
            let says = ended.err.contains("999") && ended.err.contains("newer");
            assert!(says, "{arguments:?}: {}", ended.err);
        }
    }
}

/// All connections of a pool.
async fn all_of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Vec<PoolConnection<D>> {
    let mut all = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        all.push(pool.acquire().await.unwrap());
    }
    all
}

#[tokio::test]
async fn questions_that_take_long_hold_up_neither_keys_nor_budgets_nor_records() {
    for database in Database::each().await {
        database.keys_json(&["create", "--name", "first"]).await;
        let store = Store::open(&database.location()).await.unwrap();
        let (_sqlite, _postgres) = match store.queries().pool() {
            Pool::Sqlite(pool) => (all_of(pool).await, Vec::new()),
            Pool::Postgres(pool) => (Vec::new(), all_of(pool).await),
        };
        let settings = Settings {
            spill_directory: None,
            spill_bytes_max: 0,
            retention: std::time::Duration::from_secs(24 * 3600),
        };
        let writer = Writer::start(store.clone(), settings).await;
        let keys = Directory::new(&[], &[]);
        let repository = Repository::new(store.clone());
        let _refresh = Refresh::start(keys.clone(), repository).await.unwrap();
        let emulator = Emulator::start().await;
        let parts = (keys, writer.ledger());
        let gateway = Gateway::with_parts(emulator.address, parts, |_| {}).await;

        let create = ["create", "--name", "app", "--budget", "requests=5/day"];
        let key = database.keys_json(&create).await;
        let body = prompt(MODEL, "hi");
        poll::until("the key is known and has a lease", async || {
            let address = gateway.url("");
            let answer = post(&address, text(&key, "secret"), body.clone(), &[]).await;
            answer.status() == 200
        })
        .await;
        let other = Queries::new(Store::open(&database.location()).await.unwrap());
        poll::until("the call is in the sums", async || {
            let rows = other.usage(&UsageQuery::default()).await.unwrap();
            rows.first().is_some_and(|row| row.sums.calls > 0)
        })
        .await;
        let queries = Queries::new(store.queries());
        let query = UsageQuery::default();
        let question = queries.usage(&query);
        assert!(question.now_or_never().is_none(), "it waits for the others");
    }
}

/// Statements that fail on a full disk end the transaction. What follows must not be in it.
#[tokio::test]
async fn each_transaction_of_sqlite_begins_outside_of_those_before() {
    for database in Database::each().await {
        let store = Store::open(&database.location()).await.unwrap();
        store.migrate().await.unwrap();
        let Pool::Sqlite(pool) = store.pool() else {
            continue;
        };
        for mut connection in all_of(pool).await {
            // It is full from now on, for this connection.
            let full = sqlx::raw_sql("PRAGMA max_page_count = 1");
            full.execute(&mut *connection).await.unwrap();
        }
        let mut failures = 0;
        // With all connections in the pool, so that none is new.
        are_back(pool).await;
        while !writes_much(pool).await {
            failures += 1;
            are_back(pool).await;
        }
        assert_eq!(failures, pool.options().get_max_connections());
        leave_while_beginning(pool).await;
        assert!(writes_much(pool).await);
    }
}

async fn are_back(pool: &sqlx::SqlitePool) {
    poll::until("the connections are back in the pool", async || {
        u32::try_from(pool.num_idle()) == Ok(pool.size())
    })
    .await;
}

async fn leave_while_beginning<P: BeginWrite>(pool: &P) {
    for _ in 0..50 {
        let mut begin = std::pin::pin!(pool.begin_write());
        for _ in 0..4 {
            if begin.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Whether there is room for a row of a megabyte.
async fn writes_much(pool: &sqlx::SqlitePool) -> bool {
    let mut transaction = pool.begin_write().await.unwrap();
    let insert = "INSERT INTO featherwire_call_blocks (second, id, calls, content) \
                  VALUES (0, randomblob(16), 1, zeroblob(1000000))";
    let written = sqlx::query(insert).execute(&mut *transaction).await;
    match written {
        Ok(_) => transaction.commit().await.is_ok(),
        Err(_) => false,
    }
}
