//! The ledger: one record for each call of a model, through every door and at every end, and none of
//! them is lost or counted twice.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use featherwire::{
    config::DatabaseLocation,
    keys::{Actor, Directory, KeySettings, Refresh, Repository, Role, SecretKind},
    ledger::{
        self, CallFilter, Ending, Ledger, Order, Queries, Record, Settings, TokenSource,
        UsageQuery, Writer,
    },
    store::Store,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    key_limits::{json_of, post, with_key},
    keys::{end, serve, text},
    support::{
        Database, Door, Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted, poll,
        program::{Folder, featherwire, run},
        prompt,
        rest::{Events, http, with_json},
        scripted::{chunk, finish, refused},
    },
};

/// A ledger in memory, and what it knows.
struct Book {
    writer: Writer,
    queries: Queries,
}

impl Book {
    async fn new() -> Self {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            writer: Writer::start(store.clone(), settings(None)).await,
            queries: Queries::new(store),
        }
    }

    /// All records, when there are so many.
    async fn records(&self, number: usize) -> Vec<Record> {
        records(&self.queries, number).await
    }
}

fn settings(spill: Option<&Folder>) -> Settings {
    Settings {
        spill_directory: spill.map(|folder| folder.0.clone()),
        spill_bytes_max: 1024 * 1024,
        retention: Duration::from_secs(30 * 24 * 3600),
    }
}

async fn all(queries: &Queries) -> Vec<Record> {
    let all = CallFilter::default();
    queries
        .calls(&all, Order::OldestFirst, None, 5000)
        .await
        .unwrap()
}

async fn records(queries: &Queries, number: usize) -> Vec<Record> {
    let what = format!("there are {number} records");
    poll::until(&what, async || all(queries).await.len() >= number).await;
    let records = all(queries).await;
    assert_eq!(records.len(), number);
    records
}

/// The sum of all calls.
async fn total(queries: &Queries) -> ledger::Sums {
    let rows = queries.usage(&UsageQuery::default()).await.unwrap();
    rows.first().map(|row| row.sums).unwrap_or_default()
}

fn streamed(door: Door, mut request: Value) -> Value {
    if door == Door::RestStream {
        request["stream"] = true.into();
    }
    request
}

#[tokio::test]
async fn a_call_through_each_door_has_one_record_with_the_tokens_that_the_upstream_tells() {
    let book = Book::new().await;
    let emulator = Emulator::start().await;
    let gateway = Gateway::recorded(emulator.address, book.writer.ledger(), |_| {}).await;
    let mut number = 0;
    for door in Door::ALL {
        let mut request = streamed(door, prompt(MODEL, "hi"));
        request["max_tokens"] = 7.into();
        gateway.ask(door, &request).await;
        number += 1;
        let records = book.records(number).await;
        let record = records.last().unwrap();
        let expected = match door {
            Door::RestUnary => ("rest", "CreateChatCompletion"),
            Door::RestStream => ("rest", "StreamChatCompletion"),
            Door::GrpcUnary => ("grpc", "CreateChatCompletion"),
            Door::GrpcStream => ("grpc", "StreamChatCompletion"),
            Door::WebUnary => ("grpc-web", "CreateChatCompletion"),
            Door::WebStream => ("grpc-web", "StreamChatCompletion"),
        };
        assert_eq!((record.door.name(), record.rpc.name()), expected);
        assert_eq!(record.ending, Ending::Finished, "{door:?}");
        assert_eq!(record.tokens.source, TokenSource::Upstream, "{door:?}");
        assert_eq!(record.tokens.completion, 7);
        assert!(record.tokens.prompt > 0);
        assert_eq!(&*record.model_asked, MODEL);
        assert_eq!(record.model_answered(), Some(MODEL));
        assert_eq!(&*record.key_name, "everyone");
        assert_eq!(record.first_token_ms.is_some(), door.is_stream());
        assert_eq!((record.attempts, record.error_code.as_deref()), (1, None));
        assert!(record.units > 0 && record.request_id.is_some());
    }
    let sums = total(&book.queries).await;
    let (calls, prompt, completion) = (sums.calls, sums.prompt_tokens, sums.completion_tokens);
    assert_eq!((calls, completion), (6, 42));
    let of_records: u64 = all(&book.queries)
        .await
        .iter()
        .map(|r| r.tokens.prompt)
        .sum();
    assert_eq!(prompt, of_records);
    assert_eq!((sums.failed, sums.cancelled, sums.counted), (0, 0, 0));
}

#[tokio::test]
async fn a_refused_call_has_a_record_with_its_code_and_costs_nothing() {
    let book = Book::new().await;
    let upstream = Scripted::always(refused(404, "model_not_found", "no such model")).await;
    let gateway = Gateway::recorded(upstream.address, book.writer.ledger(), |_| {}).await;
    let mut number = 0;
    for door in Door::ALL {
        for (request, asked, code) in [
            (
                prompt("no/such-model", "hi"),
                "no/such-model",
                "model_not_found",
            ),
            (
                json!({"model": MODEL, "messages": []}),
                MODEL,
                "invalid_value",
            ),
        ] {
            gateway.ask(door, &streamed(door, request)).await;
            number += 1;
            let records = book.records(number).await;
            let record = records.last().unwrap();
            assert_eq!(record.ending, Ending::Failed);
            assert_eq!(record.error_code.as_deref(), Some(code), "{door:?}");
            assert_eq!(&*record.model_asked, asked);
            assert_eq!((record.model_answered(), record.units), (None, 0));
            assert_eq!(record.tokens, ledger::Tokens::default());
        }
    }
    // A name that no model has is in no sum.
    let mut query = UsageQuery::default();
    query.grouping.by_model = true;
    let rows = book.queries.usage(&query).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| row.model.as_deref() != Some("no/such-model")),
        "{rows:?}"
    );
    // What is no call of a model has no record.
    for path in ["/v1/models", "/healthz", "/v1/concurrency"] {
        let _ = http().get(gateway.url(path)).send().await.unwrap();
    }
    // A body that cannot be read.
    let call = with_json(http().post(gateway.url("/v1/embeddings")), "{");
    assert_eq!(call.send().await.unwrap().status(), 400);
    let records = book.records(number + 1).await;
    let last = records.last().unwrap();
    assert_eq!(last.error_code.as_deref(), Some("invalid_json"));
    assert_eq!(
        (last.rpc.name(), &*last.model_asked),
        ("CreateEmbedding", "")
    );
}

#[tokio::test]
async fn a_stream_without_usage_is_counted_by_the_gateway() {
    let events = vec![chunk("one"), chunk(" two"), chunk(" three"), finish()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let book = Book::new().await;
    let gateway = Gateway::recorded(upstream.address, book.writer.ledger(), |_| {}).await;
    for (number, door) in (1..).zip(Door::STREAMS) {
        gateway
            .ask(door, &streamed(door, prompt(MODEL, "hi")))
            .await;
        let records = book.records(number).await;
        let record = records.last().unwrap();
        assert_eq!(record.ending, Ending::Finished);
        assert_eq!(record.tokens.source, TokenSource::Counted);
        assert!(record.tokens.prompt > 0);
        // Three chunks with text, and perhaps the one that ends it.
        assert!((3..=4).contains(&record.tokens.completion), "{record:?}");
    }
    assert_eq!(total(&book.queries).await.counted, 3);
}

#[tokio::test]
async fn a_call_that_its_caller_leaves_is_cancelled_and_counted() {
    let book = Book::new().await;
    let upstream =
        Scripted::always(Reply::EventsThenSilence(vec![chunk("one"), chunk(" two")])).await;
    let gateway = Gateway::recorded(upstream.address, book.writer.ledger(), |_| {}).await;
    let request = streamed(Door::RestStream, prompt(MODEL, "hi"));
    let url = gateway.url("/v1/chat/completions");
    let mut events = Events::of(with_json(http().post(url), request.to_string())).await;
    events.next().await.unwrap();
    events.next().await.unwrap();
    drop(events);
    let records = book.records(1).await;
    let record = &records[0];
    assert_eq!(
        (record.ending, record.error_code.as_deref()),
        (Ending::Cancelled, None)
    );
    assert_eq!(record.tokens.source, TokenSource::Counted);
    assert!(
        record.tokens.completion >= 2 && record.units > 0,
        "{record:?}"
    );
    assert_eq!(total(&book.queries).await.cancelled, 1);
}

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
        let entries = std::fs::read_dir(&self.folder.0).unwrap();
        entries
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().ends_with(".spill")
            })
            .count()
    }
}

/// Sends records to a ledger.
fn send(ledger: &Ledger, number: usize) {
    for _ in 0..number {
        let (ended_at, id) = ledger.stamp();
        ledger.send(Record {
            ended_at,
            id,
            key_id: ledger::fixed_id("env-1"),
            key_name: "env-1".into(),
            door: ledger::Door::Rest,
            rpc: ledger::Rpc::CreateChatCompletion,
            model_asked: MODEL.into(),
            model: MODEL.into(),
            ending: Ending::Finished,
            error_code: None,
            tokens: ledger::Tokens {
                prompt: 3,
                completion: 4,
                source: TokenSource::Upstream,
                ..ledger::Tokens::default()
            },
            units: 1,
            unit_ms: 10,
            waited_ms: 0,
            first_token_ms: None,
            duration_ms: 10,
            attempts: 1,
            request_id: None,
            upstream_request_id: None,
        });
    }
}

async fn until_calls(queries: &Queries, calls: u64) {
    let what = format!("{calls} calls are in the sums");
    poll::until(&what, async || total(queries).await.calls >= calls).await;
    assert_eq!(total(queries).await.calls, calls);
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
    assert_eq!(total(&shelf.queries).await.calls, 3500);
    assert_eq!(shelf.spill_files(), 0);
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
    writer.end().await;
    let calls = total(&shelf.queries).await.calls;
    assert!((60_000..70_003).contains(&calls), "{calls}");
    assert_eq!(call_count(&shelf.store).await, calls);
}

async fn call_count(store: &Store) -> u64 {
    let featherwire::store::Pool::Sqlite(pool) = store.pool() else {
        panic!("the tests use SQLite");
    };
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM featherwire_calls")
        .fetch_one(pool)
        .await
        .unwrap();
    u64::try_from(count).unwrap()
}

/// Runs a command on a database: what it prints as JSON.
async fn shown(database: &Database, arguments: &[&str]) -> Value {
    let mut command = featherwire(arguments);
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    let ended = run(&mut command).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    serde_json::from_str(&ended.out).unwrap_or(Value::String(ended.out))
}

#[tokio::test]
async fn the_command_line_shows_what_a_drained_gateway_has_recorded() {
    for database in Database::each().await {
        let key = database.keys_json(&["create", "--name", "app"]).await;
        let secret = text(&key, "secret");
        let (child, address) = serve(&database, &[]).await;
        let mut tokens = 0;
        for _ in 0..12 {
            let answer = post(&address, secret, prompt(MODEL, "hi"), &[]).await;
            let (_, answer) = json_of(answer).await;
            tokens += answer["usage"]["prompt_tokens"].as_u64().unwrap();
        }
        let refused = post(
            &address,
            secret,
            json!({"model": MODEL, "messages": []}),
            &[],
        )
        .await;
        assert_eq!(refused.status(), 400);
        // Its end writes the last records.
        end(child).await;
        let arguments = ["usage", "--by", "key", "--since", "1d", "--json"];
        let rows = shown(&database, &arguments).await;
        assert_eq!(rows.as_array().unwrap().len(), 1);
        let row = &rows[0];
        assert_eq!(row["key"], "app");
        assert_eq!(row["key_id"], key["id"]);
        assert_eq!((&row["calls"], &row["failed"]), (&json!(13), &json!(1)));
        assert_eq!(
            (&row["cancelled"], &row["prompt_tokens"]),
            (&json!(0), &json!(tokens))
        );
        assert!(row["unit_seconds"].is_number() && row["completion_tokens"].is_u64());
        for (by, name) in [("model", MODEL), ("day", "20"), ("hour", "20")] {
            let rows = shown(&database, &["usage", "--by", by, "--json"]).await;
            let row = &rows[0];
            assert_eq!(row["calls"], 13, "{rows}");
            let member = if by == "model" { "model" } else { "start" };
            assert!(text(row, member).starts_with(name), "{rows}");
        }
        let none = shown(&database, &["usage", "--key", "env-1", "--json"]).await;
        assert_eq!(none, json!([]));
        for format in ["table", "csv"] {
            let printed = shown(&database, &["usage", "--format", format]).await;
            let printed = printed.as_str().unwrap();
            assert!(printed.contains("app"), "{printed}");
            let is_narrow = printed.lines().all(|line| line.chars().count() < 80);
            assert!(is_narrow || format == "csv", "{printed}");
        }
        let calls = shown(&database, &["calls", "--json", "--limit", "13"]).await;
        let calls = calls.as_array().unwrap();
        assert_eq!(calls.len(), 13);
        assert_eq!(calls[12]["error"], "invalid_value");
        assert_eq!(
            (&calls[0]["end"], &calls[0]["key"]),
            (&json!("finished"), &json!("app"))
        );
        let failed = shown(&database, &["calls", "--json", "--end", "failed"]).await;
        assert_eq!(failed.as_array().unwrap().len(), 1);
        let lines = shown(&database, &["calls"]).await;
        let lines = lines.as_str().unwrap();
        assert_eq!(lines.lines().count(), 13);
        assert!(
            lines.lines().all(|line| line.chars().count() < 80),
            "{lines}"
        );
    }
}

#[tokio::test]
async fn a_gateway_that_is_killed_loses_at_most_its_last_batch_and_doubles_nothing() {
    for database in Database::each().await {
        let key = database.keys_json(&["create", "--name", "app"]).await;
        let secret = text(&key, "secret");
        let (mut child, address) = serve(&database, &[]).await;
        let count = async || {
            let rows = shown(&database, &["usage", "--json"]).await;
            rows[0]["calls"].as_u64().unwrap_or_default()
        };
        for _ in 0..20 {
            assert_eq!(
                post(&address, secret, prompt(MODEL, "hi"), &[])
                    .await
                    .status(),
                200
            );
        }
        poll::until("the calls are recorded", async || count().await == 20).await;
        for _ in 0..5 {
            assert_eq!(
                post(&address, secret, prompt(MODEL, "hi"), &[])
                    .await
                    .status(),
                200
            );
        }
        child.kill().await.unwrap();
        let left = count().await;
        assert!((20..=25).contains(&left), "{left}");
        let (child, address) = serve(&database, &[]).await;
        assert_eq!(
            post(&address, secret, prompt(MODEL, "hi"), &[])
                .await
                .status(),
            200
        );
        end(child).await;
        assert_eq!(count().await, left + 1);
        let calls = shown(&database, &["calls", "--limit", "1000", "--json"]).await;
        assert_eq!(calls.as_array().unwrap().len() as u64, left + 1);
    }
}

#[tokio::test]
async fn a_follower_sees_calls_as_they_end() {
    let ((_child, database), address, secret) = with_key(&[], &[]).await;
    assert_eq!(
        post(&address, &secret, prompt(MODEL, "hi"), &[])
            .await
            .status(),
        200
    );
    let mut command = featherwire(&["calls", "--follow", "--json"]);
    command.env("FEATHERWIRE_DATABASE_URL", &database.url);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut ids = BTreeSet::new();
    for number in 1..=3 {
        if number > 1 {
            let answer = post(&address, &secret, prompt(MODEL, "hi"), &[]).await;
            assert_eq!(answer.status(), 200);
        }
        let next = tokio::time::timeout(PATIENCE, lines.next_line());
        let line = next.await.unwrap().unwrap().unwrap();
        let call: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(call["key"], "app");
        ids.insert(text(&call, "id").to_owned());
    }
    assert_eq!(ids.len(), 3);
}
