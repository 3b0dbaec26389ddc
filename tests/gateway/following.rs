//! How running gateways follow the keys of their database, whatever happens to it, and changes that
//! meet.

use std::time::Duration;

use featherwire::{
    keys::{Actor, KeySettings, Repository, Role, SecretKind},
    store::{Pool, Store},
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::{
    keys::{call, end, serve, text, until_status},
    leases::{Member, behind_gates, spent},
    support::{
        Database, Emulator, poll,
        program::{featherwire, started},
    },
};

/// Sets the limits of the key with this name, as another version of the gateway could.
async fn set_limits(store: &Store, name: &str, limits: &str) {
    let statements = format!(
        "UPDATE featherwire_versions SET version = version + 1 WHERE name = 'keys'; UPDATE \
         featherwire_keys SET limits = '{limits}', version = (SELECT version FROM \
         featherwire_versions WHERE name = 'keys') WHERE name = '{name}'"
    );
    change(store, &statements).await;
}

async fn open(database: &Database) -> (Store, Repository) {
    let store = Store::open(&database.location()).await.unwrap();
    store.migrate().await.unwrap();
    (store.clone(), Repository::new(store))
}

/// Creates a key.
async fn create(repository: &Repository) -> Uuid {
    let settings = KeySettings::named("app");
    let created = repository.create(&Actor::Local, Role::Inference, SecretKind::Live, settings);
    created.await.unwrap().0.id
}

/// Runs a statement, and returns the number of the rows that it has changed.
async fn change(store: &Store, statement: &str) -> u64 {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    match store.pool() {
        Pool::Sqlite(pool) => statement.execute(pool).await.unwrap().rows_affected(),
        Pool::Postgres(pool) => statement.execute(pool).await.unwrap().rows_affected(),
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_refused_and_the_changes_of_others_count() {
    for database in Database::each().await {
        let mut secrets = Vec::new();
        for name in ["first", "new", "last"] {
            let key = database.keys_json(&["create", "--name", name]).await;
            secrets.push(text(&key, "secret").to_owned());
        }
        let [first, new, last] = [0, 1, 2].map(|number| Some(secrets[number].as_str()));
        let store = Store::open(&database.location()).await.unwrap();
        let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
        command.env("FEATHERWIRE_DATABASE_URL", &database.url);
        let (gateway, address, mut log) = started(command).await;
        assert_eq!(call(&address, new).await.0, 200);

        set_limits(&store, "new", r#"{"moons":3}"#).await;
        until_status(&address, new, 401).await;
        assert_eq!(database.keys(&["revoke", "first"]).await.code, Some(0));
        until_status(&address, first, 401).await;
        assert_eq!(call(&address, last).await.0, 200);
        let listed = database.keys(&["list"]).await;
        assert!(listed.out.contains("last") && !listed.out.contains("moons"));
        let problem = "the column limits of the key";
        assert!(listed.err.contains(problem), "{}", listed.err);
        end(gateway).await;
        let mut lines = Vec::new();
        while let Some(line) = log.recv().await {
            lines.push(line);
        }
        let told = lines.iter().filter(|line| line.contains(problem)).count();
        assert_eq!(told, 1, "{lines:#?}");

        // A gateway starts, and is not open even if it has no other key.
        for name in ["first", "last"] {
            assert_eq!(database.keys(&["delete", name]).await.code, Some(0));
        }
        let (gateway, address) = serve(&database, &[]).await;
        for key in [None, new] {
            assert_eq!(call(&address, key).await.0, 401);
        }
        set_limits(&store, "new", "{}").await;
        until_status(&address, new, 200).await;
        // It can be ended as it is.
        set_limits(&store, "new", r#"{"moons":3}"#).await;
        for change in ["revoke", "delete"] {
            let ended = database.keys(&[change, "new"]).await;
            let told = format!("the key was {change}d. ");
            assert!(ended.err.contains(&told), "{}", ended.err);
        }
        assert_eq!(database.keys(&["show", "new"]).await.code, Some(1));
        end(gateway).await;
    }
}

#[tokio::test]
async fn gateways_that_record_the_use_of_the_same_keys_do_not_wait_for_each_other() {
    const KEYS: usize = 60;
    for database in Database::each().await {
        let (_, first) = open(&database).await;
        let (_, second) = open(&database).await;
        let mut ids = Vec::new();
        for _ in 0..KEYS {
            ids.push(create(&first).await);
        }
        let reversed: Vec<_> = ids.iter().rev().copied().collect();
        for at in 1..=30 {
            let both = tokio::join!(first.record_use(&ids, at), second.record_use(&reversed, at));
            assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        }
        let (keys, _) = first.list().await.unwrap();
        assert!(keys.iter().all(|key| key.last_used_at == Some(30)));
    }
}

#[tokio::test]
async fn a_gateway_whose_connections_are_forgotten_follows_on_new_ones() {
    for (database, gate, behind) in behind_gates().await {
        let create = ["create", "--name", "app", "--budget", "requests=900/total"];
        let key = database.keys_json(&create).await;
        let direct = Store::open(&database.location()).await.unwrap();
        let emulator = Emulator::start().await;
        let gateway = Member::start(&behind, &emulator).await;
        assert_eq!(gateway.call(text(&key, "secret")).await.0, 200);
        poll::until("the call is saved", async || spent(&direct).await == 1).await;
        let Pool::Postgres(pool) = direct.pool() else {
            panic!("the gate is before PostgreSQL");
        };
        for round in 1..=2 {
            // They are forgotten in the middle of a statement, and its transaction stays.
            let mut locked = pool.begin().await.unwrap();
            let tables = "LOCK TABLE featherwire_versions, featherwire_gateways";
            sqlx::raw_sql(tables).execute(&mut *locked).await.unwrap();
            assert_eq!(gateway.call(text(&key, "secret")).await.0, 200);
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND database = (SELECT \
                           oid FROM pg_database WHERE datname = current_database())";
            poll::until("the gateway waits for an answer twice", async || {
                let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
                waiting == 2
            })
            .await;
            gate.forget();
            locked.commit().await.unwrap();

            let other = database.keys_json(&["create", "--name", "other"]).await;
            poll::until("the gateway knows a new key", async || {
                gateway.call(text(&other, "secret")).await.0 == 200
            })
            .await;
            poll::until("what it has spent is saved", async || {
                spent(&direct).await == 1 + round
            })
            .await;
        }
    }
}

#[tokio::test]
async fn of_changes_that_meet_a_deletion_nothing_stays() {
    const EVERY_SECRET: &str = "UPDATE featherwire_secrets SET ends_at = ends_at";
    for database in Database::each().await {
        let (store, repository) = open(&database).await;
        for round in 0..20 {
            let id = create(&repository).await;
            let rotate = repository.rotate(&Actor::Local, id, Duration::ZERO);
            let delete = || repository.delete(&Actor::Local, id);
            let (_, first, second) = tokio::join!(rotate, delete(), delete());
            assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
            assert_eq!(change(&store, EVERY_SECRET).await, 0, "round {round}");
            let audit = repository.audit(i64::MAX, 10, Some(id)).await.unwrap();
            let deletions = audit.iter().filter(|event| event.action == "delete");
            assert_eq!(deletions.count(), 1);
            assert!(
                repository
                    .rotate(&Actor::Local, id, Duration::ZERO)
                    .await
                    .is_err()
            );
        }
        // A rotation after a revocation, which it has not seen.
        let id = create(&repository).await;
        let revoke = repository.revoke(&Actor::Local, id, false);
        let rotate = repository.rotate(&Actor::Local, id, Duration::ZERO);
        let (revoked, _) = tokio::join!(revoke, rotate);
        let ended = "UPDATE featherwire_secrets SET ends_at = ends_at WHERE ends_at IS NOT NULL";
        let secrets = change(&store, EVERY_SECRET).await;
        assert_eq!(change(&store, ended).await, secrets);
        assert!(revoked.is_ok() && secrets > 0);
    }
}

#[tokio::test]
async fn secrets_that_ended_long_ago_and_the_spending_of_deleted_keys_are_removed() {
    for database in Database::each().await {
        let (store, repository) = open(&database).await;
        let id = create(&repository).await;
        let rotate = async || {
            let rotated = repository.rotate(&Actor::Local, id, Duration::ZERO).await;
            rotated.unwrap().0.secrets.len()
        };
        assert_eq!((rotate().await, rotate().await), (2, 3));
        let old = "UPDATE featherwire_secrets SET ends_at = ends_at - 8000000000";
        change(&store, old).await;
        assert_eq!(rotate().await, 2);
        let spend = "INSERT INTO featherwire_spending (key_id, unit, period, window_number, spent) \
                     SELECT id, 'tokens', 'day', 1, 5 FROM featherwire_keys";
        assert_eq!(change(&store, spend).await, 1);
        repository.delete(&Actor::Local, id).await.unwrap();
        for table in ["featherwire_spending", "featherwire_secrets"] {
            assert_eq!(change(&store, &format!("DELETE FROM {table}")).await, 0);
        }
    }
}
