//! How running gateways follow the keys of their database, whatever happens to it.

use featherwire::{
    keys::{Actor, KeySettings, Repository, Role, SecretKind},
    store::{Pool, Store},
};
use sqlx::AssertSqlSafe;

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
    let change = format!(
        "UPDATE featherwire_versions SET version = version + 1 WHERE name = 'keys'; UPDATE \
         featherwire_keys SET limits = '{limits}', version = (SELECT version FROM \
         featherwire_versions WHERE name = 'keys') WHERE name = '{name}'"
    );
    let change = sqlx::raw_sql(AssertSqlSafe(change));
    match store.pool() {
        Pool::Sqlite(pool) => drop(change.execute(pool).await.unwrap()),
        Pool::Postgres(pool) => drop(change.execute(pool).await.unwrap()),
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
        end(gateway).await;
    }
}

#[tokio::test]
async fn gateways_that_record_the_use_of_the_same_keys_do_not_wait_for_each_other() {
    const KEYS: usize = 60;
    for database in Database::each().await {
        let open = async || {
            let store = Store::open(&database.location()).await.unwrap();
            store.migrate().await.unwrap();
            Repository::new(store)
        };
        let (first, second) = (open().await, open().await);
        let mut ids = Vec::new();
        for _ in 0..KEYS {
            let settings = KeySettings::named("app");
            let created = first.create(&Actor::Local, Role::Inference, SecretKind::Live, settings);
            ids.push(created.await.unwrap().0.id);
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
        let mut calls = 1;
        assert_eq!(gateway.call(text(&key, "secret")).await.0, 200);
        poll::until("the call is saved", async || spent(&direct).await == 1).await;

        gate.forget();
        let other = database.keys_json(&["create", "--name", "other"]).await;
        poll::until("the gateway knows a new key", async || {
            gateway.call(text(&other, "secret")).await.0 == 200
        })
        .await;
        poll::until("the gateway has a lease again", async || {
            gateway.call(text(&key, "secret")).await.0 == 200
        })
        .await;
        calls += 1;
        poll::until("what it has spent is saved", async || {
            spent(&direct).await == calls
        })
        .await;
    }
}
