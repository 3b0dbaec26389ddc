//! What calls reserve of the limits of their key, and what they are charged: at every end of a
//! call, the budget and the ledger say the same.

mod ends;
mod minutes;
mod shortages;
mod size;
mod unit_seconds;

use std::time::Duration;

use featherwire::{
    config::{self, DatabaseLocation},
    keys::{Actor, Directory, KeySettings, Refresh, Repository, Role, SecretKind},
    ledger::{CallFilter, Order, Queries, Record, Settings, TokenSource, Writer},
    store::Store,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, Scripted,
    door::Answer,
    poll,
    program::Folder,
    rest::{http, status_and_json},
};

/// A gateway that records its calls, and one key with limits.
struct Metered {
    gateway: Gateway,
    store: Store,
    secret: String,
    _parts: (Writer, Refresh, Folder),
}

impl Metered {
    /// `limits` is the JSON of the key's limits.
    async fn new(
        upstream: &Scripted,
        limits: Value,
        configure: impl FnOnce(&mut config::Serve),
    ) -> Self {
        // Not in memory: when a test advances the clock, a connection can be closed.
        let folder = Folder::new();
        let location = DatabaseLocation::File(folder.0.join("keys.db"));
        let store = Store::open(&location).await.unwrap();
        store.migrate().await.unwrap();
        let repository = Repository::new(store.clone());
        let mut settings = KeySettings::named("app".to_owned());
        settings.limits = serde_json::from_value(limits).unwrap();
        let (_, new) = repository
            .create(&Actor::Local, Role::Inference, SecretKind::Live, settings)
            .await
            .unwrap();
        let keys = Directory::new(&[], &[]);
        let refresh = Refresh::start(keys.clone(), repository).await.unwrap();
        let ledger = Settings {
            spill_directory: None,
            spill_bytes_max: 1024 * 1024,
            retention: Duration::from_secs(3600),
        };
        let writer = Writer::start(store.clone(), ledger).await;
        let parts = (keys, writer.ledger());
        Self {
            gateway: Gateway::with_parts(upstream.address, parts, configure).await,
            store,
            secret: new.secret.expose_secret().to_owned(),
            _parts: (writer, refresh, folder),
        }
    }

    /// Sends a request with the key.
    async fn ask(&self, door: Door, request: &Value, headers: &[(&'static str, &str)]) -> Answer {
        let secret = self.bearer();
        let mut all = vec![("authorization", secret.as_str())];
        all.extend(headers);
        self.gateway.ask_with(door, request, &all).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    /// Polls until the scheduler's state meets the condition.
    async fn until_units(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        poll::until(what, async || {
            condition(&self.gateway.units(&self.secret).await)
        })
        .await;
    }

    /// What is spent and what is reserved of each budget.
    async fn budgets(&self) -> Vec<(i64, i64)> {
        let get = http().get(self.gateway.url("/v1/key"));
        let response = get.bearer_auth(&self.secret).send().await.unwrap();
        let (status, key) = status_and_json(response).await;
        assert_eq!(status, 200, "{key}");
        let number = |budget: &Value, name: &str| -> i64 {
            budget[name]
                .as_str()
                .map_or(0, |text| text.parse().unwrap())
        };
        let budgets = key["budgets"].as_array().unwrap().iter();
        budgets
            .map(|budget| (number(budget, "spent"), number(budget, "reserved")))
            .collect()
    }

    /// The records of all calls, when there are this many.
    async fn records(&self, number: usize) -> Vec<Record> {
        let queries = Queries::new(self.store.clone());
        let all = async || {
            let filter = CallFilter::default();
            let calls = queries.calls(&filter, Order::OldestFirst, None, 5000);
            calls.await.unwrap()
        };
        poll::until("the calls are recorded", async || {
            all().await.len() >= number
        })
        .await;
        let records = all().await;
        assert_eq!(records.len(), number, "{records:?}");
        records
    }

    /// The records of all calls, when there are this many. The budgets of the key, which has one of
    /// each unit, are charged the same.
    async fn charged(&self, number: usize) -> Vec<Record> {
        let records = self.records(number).await;
        let sum = |of: fn(&Record) -> u64| records.iter().map(of).sum::<u64>();
        let requests = records
            .iter()
            .filter(|record| record.tokens.source != TokenSource::None);
        let expected = [
            sum(|record| record.tokens.prompt + record.tokens.completion),
            u64::try_from(requests.count()).unwrap(),
            sum(|record| record.unit_ms) / 1000,
        ];
        let expected = expected.map(|spent| (i64::try_from(spent).unwrap(), 0));
        assert_eq!(self.budgets().await, expected, "{records:?}");
        records
    }
}

fn budgets(of: &[(&str, u64)]) -> Value {
    let budgets = of
        .iter()
        .map(|(of, amount)| json!({"of": of, "amount": amount, "per": "day"}));
    json!({"budgets": budgets.collect::<Vec<_>>()})
}

/// A large budget of each unit.
fn all_budgets() -> Value {
    budgets(&[
        ("tokens", 1_000_000),
        ("requests", 1_000_000),
        ("unit_seconds", 1_000_000),
    ])
}
