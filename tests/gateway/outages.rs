//! Outages under load: while the database or the clock of the machine fails, no call fails for it,
//! and afterwards no record is lost or counted twice.
//!
//! PostgreSQL and the clock fail only in `tests/postgres/run`, which has a server of its own and a
//! library that changes the time.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use featherwire::proto::v1::chat_service_client::ChatServiceClient;
use serde_json::Value;
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::{
    process::{Child, Command},
    task::{JoinSet, spawn_blocking},
};

use crate::{
    key_limits::{channel, json_of, post, with_secret},
    keys::{end, text},
    support::{
        Database, Emulator, MODEL,
        door::message,
        poll,
        program::{Folder, Log, featherwire, run, started},
        prompt,
        rest::http,
    },
};

/// How many callers call all the time, at each of two doors.
const CALLERS: usize = 4;

/// A gateway in a process of its own, and its emulator.
struct House {
    emulator: Emulator,
    database: Database,
    secret: String,
}

impl House {
    async fn of(database: Database) -> Self {
        // A budget, because it is leased from the database.
        let key = [
            "create",
            "--name",
            "app",
            "--budget",
            "tokens=1000000000/total",
        ];
        let key = database.keys_json(&key).await;
        Self {
            emulator: Emulator::start().await,
            secret: text(&key, "secret").to_owned(),
            database,
        }
    }

    async fn serve(&self, command: Command) -> (Child, String) {
        let (child, address, _) = self.serve_with_log(command).await;
        (child, address)
    }

    async fn serve_with_log(&self, mut command: Command) -> (Child, String, Log) {
        command
            .env("FEATHERWIRE_DATABASE_URL", &self.database.url)
            .env("FEATHERLESS_API_KEY", "upstream")
            .env(
                "FEATHERLESS_BASE_URL",
                format!("http://{}/v1", self.emulator.address),
            );
        started(command).await
    }

    /// What the database says that keys have spent.
    async fn spent_in_sqlite(&self) -> u64 {
        let mut connection = SqliteConnection::connect(&self.database.url).await.unwrap();
        let spent = "SELECT SUM(spent) FROM featherwire_spending";
        let spent: i64 = sqlx::query_scalar(spent)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        u64::try_from(spent).unwrap()
    }

    /// How many calls the emulator has answered.
    async fn answered(&self) -> u64 {
        let url = format!("http://{}/emulator/counts", self.emulator.address);
        let (_, counts) = json_of(http().get(url).send().await.unwrap()).await;
        counts["granted"].as_u64().unwrap()
    }

    async fn shown(&self, arguments: &[&str]) -> Value {
        let mut command = featherwire(arguments);
        command.env("FEATHERWIRE_DATABASE_URL", &self.database.url);
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// The ledger has a record of each call that the emulator answered, and the sums of all.
    async fn check_ledger(&self, calls: u64, tokens: u64) {
        assert_eq!(self.answered().await, calls);
        // Its clock may have been wrong.
        let all = ["--since", "100d", "--json"];
        let until = ["usage", "--until", "2100-01-01"];
        let rows = self.shown(&[&until, &all[..]].concat()).await;
        let row = &rows[0];
        assert_eq!(
            (&row["calls"], &row["failed"]),
            (&calls.into(), &0.into()),
            "{rows}"
        );
        let used =
            row["prompt_tokens"].as_u64().unwrap() + row["completion_tokens"].as_u64().unwrap();
        assert_eq!(used, tokens);
        let limit = (calls + 1).to_string();
        let listed = self
            .shown(&[&["calls", "--limit", &limit], &all[..]].concat())
            .await;
        let mut ids: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|call| text(call, "id"))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, calls);
    }
}

fn serve_command() -> Command {
    featherwire(&["serve", "--listen", "127.0.0.1:0", "--units", "0"])
}

/// Callers that call all the time, through both doors.
struct Load {
    tasks: JoinSet<()>,
    calls: Arc<AtomicU64>,
    tokens: Arc<AtomicU64>,
    is_over: Arc<std::sync::atomic::AtomicBool>,
}

impl Load {
    fn start(address: &str, secret: &str) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            calls: Arc::default(),
            tokens: Arc::default(),
            is_over: Arc::default(),
        };
        for caller in 0..2 * CALLERS {
            let (calls, tokens) = (Arc::clone(&load.calls), Arc::clone(&load.tokens));
            let is_over = Arc::clone(&load.is_over);
            let (address, secret) = (address.to_owned(), secret.to_owned());
            load.tasks.spawn(async move {
                let mut chat = ChatServiceClient::new(channel(&address).await);
                while !is_over.load(Relaxed) {
                    let used = if caller % 2 == 0 {
                        let request = prompt(MODEL, "hi");
                        let (status, answer) =
                            json_of(post(&address, &secret, request, &[]).await).await;
                        assert_eq!(status, 200, "{answer}");
                        answer["usage"]["total_tokens"].as_u64().unwrap()
                    } else {
                        let request = with_secret(message(&prompt(MODEL, "hi")), &secret);
                        let answer = chat.create_chat_completion(request).await.unwrap();
                        let usage = answer.into_inner().usage.unwrap();
                        u64::try_from(usage.total_tokens.unwrap()).unwrap()
                    };
                    tokens.fetch_add(used, Relaxed);
                    calls.fetch_add(1, Relaxed);
                }
            });
        }
        load
    }

    /// Waits until this number of further calls are answered.
    async fn answers(&mut self, more: u64) {
        let until = self.calls.load(Relaxed) + more;
        let calls = Arc::clone(&self.calls);
        poll::until("more calls are answered", async || {
            if let Some(ended) = self.tasks.try_join_next() {
                ended.unwrap();
            }
            calls.load(Relaxed) >= until
        })
        .await;
    }

    /// Ends the load: how many calls it had, and their tokens.
    async fn end(self) -> (u64, u64) {
        self.is_over.store(true, Relaxed);
        self.tasks.join_all().await;
        (self.calls.load(Relaxed), self.tokens.load(Relaxed))
    }
}

/// The PostgreSQL server of these stories, if there is one.
struct Server {
    control: PathBuf,
}

impl Server {
    fn of_environment() -> Option<Self> {
        let control = std::env::var_os("FEATHERWIRE_TEST_POSTGRES_CONTROL")?;
        Some(Self {
            control: control.into(),
        })
    }

    async fn control(&self, what: &str) {
        let status = Command::new(&self.control).arg(what).status().await;
        assert!(status.unwrap().success(), "{what}");
    }
}

/// As on a full disk: PostgreSQL refuses each row with the error for it.
const FILL: &str = "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE \
                    EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$; CREATE \
                    TRIGGER is_full BEFORE INSERT ON featherwire_usage FOR EACH ROW EXECUTE \
                    FUNCTION is_full(); CREATE TRIGGER is_full BEFORE INSERT OR UPDATE ON \
                    featherwire_spending FOR EACH ROW EXECUTE FUNCTION is_full()";

const EMPTY: &str = "DROP TRIGGER is_full ON featherwire_usage; DROP TRIGGER is_full ON \
                     featherwire_spending";

#[tokio::test]
async fn calls_go_on_while_postgres_is_restarted_frozen_stopped_and_full() {
    let Some(server) = Server::of_environment() else {
        return;
    };
    let database = Database::each().await.pop().unwrap();
    let house = House::of(database).await;
    let folder = Folder::new();
    let mut command = serve_command();
    command.args(["--data-dir", folder.0.to_str().unwrap()]);
    let (gateway, address) = house.serve(command).await;
    let mut load = Load::start(&address, &house.secret);
    load.answers(200).await;

    server.control("restart").await;
    load.answers(200).await;
    server.control("freeze").await;
    load.answers(200).await;
    server.control("thaw").await;
    load.answers(200).await;
    server.control("stop").await;
    load.answers(200).await;
    server.control("start").await;
    load.answers(200).await;

    let mut connection = PgConnection::connect(&house.database.url).await.unwrap();
    sqlx::raw_sql(FILL).execute(&mut connection).await.unwrap();
    load.answers(200).await;
    sqlx::raw_sql(EMPTY).execute(&mut connection).await.unwrap();
    load.answers(200).await;
    // At the next start they would follow as well.
    poll::until("the records in files are taken over", async || {
        !has_spill(&folder.0)
    })
    .await;

    let (calls, tokens) = load.end().await;
    end(gateway).await;
    house.check_ledger(calls, tokens).await;
    let spent = "SELECT SUM(spent)::bigint FROM featherwire_spending";
    let spent: i64 = sqlx::query_scalar(spent)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(u64::try_from(spent), Ok(tokens));
}

/// Whether records wait in files of this directory.
fn has_spill(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_str().unwrap().ends_with(".spill"))
}

/// The largest file that a running gateway may write, in bytes. `None`: any. With 0, each write fails
/// as on a full disk.
#[cfg(target_os = "linux")]
fn limit_files(gateway: &Child, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = i32::try_from(gateway.id().unwrap()).unwrap();
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Pid::from_raw(pid), Resource::Fsize, limit).unwrap();
}

#[cfg(target_os = "linux")]
async fn database_up(address: &str, viewer: &str) -> f64 {
    let metrics = http().get(format!("{address}/metrics")).bearer_auth(viewer);
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix("featherwire_database_up "));
    line.expect(&metrics).parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn calls_go_on_while_the_disk_is_full_and_their_records_follow_without_a_restart() {
    let house = House::of(Database::sqlite()).await;
    let viewer = ["create", "--name", "ops", "--admin", "viewer"];
    let viewer = house.database.keys_json(&viewer).await;
    // The signal of a file that is too large would end the program.
    let serve = serve_command();
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(serve.as_std().get_program())
        .args(serve.as_std().get_args())
        .env_clear()
        .kill_on_drop(true);
    let (gateway, address, mut log) = house.serve_with_log(command).await;
    let path = house.database.url.trim_start_matches("sqlite:");
    let directory = PathBuf::from(path).parent().unwrap().to_owned();
    let is_up = async || database_up(&address, text(&viewer, "secret")).await > 0.5;
    let mut load = Load::start(&address, &house.secret);
    load.answers(200).await;
    assert!(is_up().await);

    let began = std::time::Instant::now();
    // Not even a file for records can be written.
    limit_files(&gateway, Some(0));
    poll::until("the metrics tell it", async || !is_up().await).await;
    for _ in 0..10 {
        load.answers(50).await;
        assert!(!is_up().await, "reads succeed");
        assert!(!has_spill(&directory), "a file without records");
    }
    // Records have room now, and the log of the database has none.
    limit_files(&gateway, Some(64 * 1024));
    poll::until("a file has records", async || has_spill(&directory)).await;
    load.answers(500).await;

    limit_files(&gateway, None);
    poll::until("the records in files are taken over", async || {
        !has_spill(&directory) && is_up().await
    })
    .await;
    load.answers(200).await;
    let (calls, tokens) = load.end().await;
    end(gateway).await;
    house.check_ledger(calls, tokens).await;
    assert_eq!(house.spent_in_sqlite().await, tokens);

    let mut lines = Vec::new();
    while let Some(line) = log.recv().await {
        lines.push(line);
    }
    let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap();
    for (start, end) in [
        (
            " WARN the database takes no records of calls",
            " INFO the database takes records of calls again",
        ),
        (
            " WARN what keys spend cannot be saved now",
            " INFO what keys spend is saved again",
        ),
    ] {
        let [starts, ends] =
            [start, end].map(|text| lines.iter().filter(|line| line.contains(text)).count());
        assert!((1..=1 + minutes).contains(&starts), "{lines:#?}");
        assert!((1..=starts).contains(&ends), "{lines:#?}");
    }
}

#[tokio::test]
async fn calls_go_on_while_the_clock_jumps() {
    let Some(library) = std::env::var_os("FEATHERWIRE_TEST_FAKETIME") else {
        return;
    };
    let house = House::of(Database::sqlite()).await;
    let folder = Folder::new();
    let offset = folder.0.join("offset");
    let jump = async |to: &str| {
        // The file is never seen half written.
        let (new, offset, to) = (folder.0.join("new"), offset.clone(), to.to_owned());
        spawn_blocking(move || {
            std::fs::write(&new, to).unwrap();
            std::fs::rename(&new, offset).unwrap();
        })
        .await
        .unwrap();
    };
    jump("+0").await;
    let mut command = serve_command();
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        // As if NTP or an administrator had set the clock: the monotonic one goes on.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let (gateway, address) = house.serve(command).await;
    let mut load = Load::start(&address, &house.secret);
    load.answers(200).await;
    // Over the end of an hour, of a day and of a month, and back, before the start as well.
    for to in ["+1h", "+1d", "+31d", "+0", "-2h", "-40d", "+0"] {
        jump(to).await;
        load.answers(200).await;
    }
    let (calls, tokens) = load.end().await;
    end(gateway).await;
    house.check_ledger(calls, tokens).await;
    assert_eq!(house.spent_in_sqlite().await, tokens);
}
