//! A gateway that loses the database, or comes back to it: what it has leased of a budget is not
//! given out by two gateways.

use std::time::Duration;

use featherwire::{
    config::DatabaseLocation,
    keys::{Directory, Refresh, Repository},
    ledger::Ledger,
    store::{Pool, Store},
};
use futures_util::future::join_all;

use crate::{
    key_limits::{json_of, post},
    keys::text,
    support::{Database, Emulator, Gate, Gateway, MODEL, poll, prompt},
};

/// How long gateways of these tests wait for others.
const LEASE_TIME: Duration = Duration::from_secs(3);

/// A gateway with the keys of a database.
pub struct Member {
    gateway: Gateway,
    _refresh: Refresh,
}

impl Member {
    pub async fn start(at: &DatabaseLocation, emulator: &Emulator) -> Self {
        let repository = Repository::new(Store::open(at).await.unwrap());
        let keys = Directory::new(&[], &[]);
        let refresh = Refresh::start_with(keys.clone(), repository, LEASE_TIME).await;
        let parts = (keys, Ledger::default());
        Self {
            gateway: Gateway::with_parts(emulator.address, parts, |_| {}).await,
            _refresh: refresh.unwrap(),
        }
    }

    /// The status of a call and the code of its error.
    pub async fn call(&self, secret: &str) -> (u16, String) {
        let (address, body) = (self.gateway.url(""), prompt(MODEL, "hi"));
        let (status, body) = json_of(post(&address, secret, body, &[]).await).await;
        let code = body["error"]["code"].as_str().unwrap_or_default();
        (status, code.to_owned())
    }

    /// Calls until a call is refused, and returns how many were not.
    async fn call_until_refused(&self, secret: &str) -> u64 {
        let mut calls = 0;
        while self.call(secret).await.0 == 200 {
            calls += 1;
        }
        calls
    }
}

/// What is spent of the only budget.
pub async fn spent(store: &Store) -> u64 {
    let text = "SELECT spent FROM featherwire_spending";
    let spent: i64 = match store.pool() {
        Pool::Sqlite(pool) => sqlx::query_scalar(text).fetch_one(pool).await.unwrap(),
        Pool::Postgres(pool) => sqlx::query_scalar(text).fetch_one(pool).await.unwrap(),
    };
    u64::try_from(spent).unwrap()
}

/// What gives the PostgreSQL database of a test a gate.
pub async fn behind_gates() -> Vec<(Database, Gate, DatabaseLocation)> {
    let mut all = Vec::new();
    for database in Database::each().await {
        if !database.url.starts_with("sqlite:") {
            let (gate, behind) = Gate::to(&database).await;
            all.push((database, gate, behind));
        }
    }
    all
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_stops_before_another_one_has_its_leases() {
    const BUDGET: u64 = 60;
    for (database, gate, behind) in behind_gates().await {
        let budget = format!("requests={BUDGET}/total");
        let create = ["create", "--name", "app", "--budget", &budget];
        let key = database.keys_json(&create).await;
        let secret = text(&key, "secret");
        let direct = Store::open(&database.location()).await.unwrap();
        let emulator = Emulator::start().await;
        let first = Member::start(&behind, &emulator).await;
        let second = Member::start(&database.location(), &emulator).await;
        assert_eq!(first.call(secret).await.0, 200);
        poll::until("the call is saved", async || spent(&direct).await == 1).await;

        gate.close();
        // It has leased all, so it goes on for some time.
        let mut of_first = 1;
        for _ in 0..3 {
            assert_eq!(first.call(secret).await.0, 200);
            of_first += 1;
        }
        let mut of_second = 0;
        poll::until("the second gateway has the leases", async || {
            of_second = second.call_until_refused(secret).await;
            of_second > 0
        })
        .await;
        assert_eq!(of_second, BUDGET - 1);
        let refused = join_all((0..8).map(|_| first.call(secret))).await;
        for refusal in refused {
            assert_eq!(refusal, (503, "budget_unknown".to_owned()));
        }

        gate.open();
        let all = of_first + of_second;
        poll::until("all calls are saved", async || spent(&direct).await == all).await;
        for gateway in [&first, &second] {
            let refusal = (429, "budget_exhausted".to_owned());
            poll::until("the budget is exhausted", async || {
                gateway.call(secret).await == refusal
            })
            .await;
        }
        assert_eq!(spent(&direct).await, all);
    }
}

#[tokio::test]
async fn a_gateway_that_comes_back_while_another_one_ends_it_keeps_its_leases() {
    for (database, gate, behind) in behind_gates().await {
        let create = ["create", "--name", "app", "--budget", "requests=60/total"];
        let key = database.keys_json(&create).await;
        let secret = text(&key, "secret");
        let emulator = Emulator::start().await;
        let first = Member::start(&behind, &emulator).await;
        assert_eq!(first.call(secret).await.0, 200);
        gate.close();

        // The first gateway comes back, in a transaction that takes some time. Its row has a time
        // in the future, so that it does not get lost again.
        let pool = sqlx::PgPool::connect(&database.url).await.unwrap();
        let mut back = pool.begin().await.unwrap();
        let see = "UPDATE featherwire_gateways SET seen_at = seen_at + 1000000";
        sqlx::query(see).execute(&mut *back).await.unwrap();
        let second = Member::start(&database.location(), &emulator).await;
        poll::until("the second gateway ends the first one", async || {
            assert_ne!(second.call(secret).await.0, 200);
            let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND \
                           datname = current_database() AND query LIKE '%ended_at = $3%'";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&pool).await.unwrap();
            waiting > 0
        })
        .await;
        back.commit().await.unwrap();
        let numbers = async || -> Vec<i64> {
            let batches = "SELECT batch FROM featherwire_gateways ORDER BY seen_at";
            sqlx::query_scalar(batches).fetch_all(&pool).await.unwrap()
        };
        let before = numbers().await[0];
        poll::until("the second gateway goes on", async || {
            assert_ne!(second.call(secret).await.0, 200);
            numbers().await[0] > before + 1
        })
        .await;
        let leased: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM featherwire_leases")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(leased, 1);
        gate.open();
        poll::until("the first gateway goes on", async || {
            first.call(secret).await.0 == 200
        })
        .await;
    }
}
