use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::{FutureExt as _, future::join_all};
use secrecy::ExposeSecret;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    config::DatabaseLocation,
    keys::{
        Actor, Allowance, Amounts, Ask, BudgetPeriod, BudgetUnit, Directory, Identity, KeySettings,
        NewSecret, Role, SecretKind, account::AccountName, repository::LEASE_TIME,
    },
    store::{BeginWrite as _, Store, on_each},
};

const BUDGET: u64 = 5000;

/// One of the gateways of a database.
struct Gateway {
    identity: Identity,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Gateway {
    async fn start(repository: &Repository, secret: &NewSecret) -> Self {
        Self::start_with(repository, secret, None).await
    }

    async fn start_with(
        repository: &Repository,
        secret: &NewSecret,
        presence: Option<Arc<Presence>>,
    ) -> Self {
        let directory = Directory::new(&[], &[]);
        let news = directory.spending_news();
        news.need_leases();
        let changes = repository.changes_after(0).await.unwrap();
        directory.apply(changes);
        directory.take_spent(&repository.spent().await.unwrap());
        let (end, ended) = oneshot::channel();
        let saver = Saver::new(news, repository.clone(), LEASE_TIME, presence);
        Self {
            identity: identity(&directory, secret),
            end,
            task: tokio::spawn(saver.run(async move { _ = ended.await })),
        }
    }

    async fn reserve(&self, tokens: u64) -> crate::error::Result<Allowance> {
        let now = std::time::Instant::now();
        self.identity.reserve(ask(tokens), now).await
    }

    async fn end(self) {
        drop(self.end);
        self.task.await.unwrap();
    }
}

fn identity(directory: &Directory, secret: &NewSecret) -> Identity {
    let secret = secret.secret.expose_secret().as_bytes();
    directory.find(secret).unwrap().unwrap()
}

fn ask(tokens: u64) -> Ask {
    Ask {
        prompt_tokens: 0,
        choices: 1,
        max_tokens: Some(tokens),
        model_max_tokens: 0,
    }
}

/// A saver that is not running.
async fn alone(repository: &Repository) -> (Directory, Saver) {
    let directory = Directory::new(&[], &[]);
    let news = directory.spending_news();
    news.need_leases();
    directory.apply(repository.changes_after(0).await.unwrap());
    let saver = Saver::new(news, repository.clone(), LEASE_TIME, None);
    (directory, saver)
}

/// Advances the clock. The database needs real time, so the clock is paused only here.
async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A database with one key, which several gateways of this process use.
async fn database() -> (Store, NewSecret, Repository) {
    let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
    let (secret, repository) = with_key(&store).await;
    (store, secret, repository)
}

/// Creates a key in an empty database.
async fn with_key(store: &Store) -> (NewSecret, Repository) {
    store.migrate().await.unwrap();
    let repository = Repository::new(store.clone());
    let mut settings = KeySettings::named("app");
    settings.limits.budgets = vec![format!("tokens={BUDGET}/total").parse().unwrap()];
    let created = repository.create(&Actor::Local, Role::Inference, SecretKind::Live, settings);
    let (_, secret) = created.await.unwrap();
    (secret, repository)
}

async fn spent(repository: &Repository) -> u64 {
    let spent = repository.spent().await.unwrap();
    spent.first().map_or(0, |spent| spent.amount)
}

fn tokens(tokens: u64) -> Amounts {
    Amounts {
        tokens,
        requests: 1,
        unit_ms: 0,
    }
}

/// A statement without news.
fn statement() -> Statement {
    Statement {
        name: AccountName {
            of: BudgetUnit::Tokens,
            per: BudgetPeriod::Total,
        },
        window: 0,
        limit: BUDGET,
        spent: 0,
        reserved: 0,
        demand: 0,
        given_out: 0,
        is_idle: false,
    }
}

/// The database has not heard of a gateway for a long time.
async fn forget_time_of(store: &Store, gateway: Uuid) {
    on_each!(store, pool => {
        sqlx::query("UPDATE featherwire_gateways SET seen_at = seen_at - 600000 WHERE id = $1")
            .bind(gateway)
            .execute(pool)
            .await
            .unwrap();
    });
}

#[tokio::test]
async fn gateways_that_race_for_a_budget_spend_all_of_it_and_no_more() {
    let (store, secret, repository) = database().await;
    let gateways = [
        Gateway::start(&repository, &secret).await,
        Gateway::start(&repository, &secret).await,
    ];
    let (reserved, used, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let caller = async |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let gateway = &gateways[usize::try_from(seed % 2).unwrap()];
        for _ in 0..8 {
            let Ok(allowance) = gateway.reserve(random.u64(16..200)).await else {
                refused.fetch_add(1, Relaxed);
                continue;
            };
            let granted = allowance.granted_tokens();
            reserved.fetch_add(granted, Relaxed);
            tokio::task::yield_now().await;
            // A third hang up before anything is used.
            let of_call = if random.u8(0..3) == 0 { 0 } else { granted };
            used.fetch_add(of_call, Relaxed);
            allowance.settle(tokens(of_call));
        }
    };
    join_all((0..32).map(caller)).await;
    let used = used.into_inner();
    assert!(used <= BUDGET && refused.into_inner() > 0, "{used}");
    assert!(reserved.into_inner() >= used && used > BUDGET / 2, "{used}");
    for gateway in gateways {
        gateway.end().await;
    }
    assert_eq!(spent(&repository).await, used);
    let leases: i64 = on_each!(store, pool => {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM featherwire_leases");
        count.fetch_one(pool).await.unwrap()
    });
    assert_eq!(leases, 0, "all leases are back");
    // The next gateway gets the rest, to the token.
    let next = Gateway::start(&repository, &secret).await;
    let rest = next.reserve(BUDGET).await;
    let rest = rest.map_or(0, |allowance| allowance.granted_tokens());
    assert_eq!(rest, if used > BUDGET - 16 { 0 } else { BUDGET - used });
}

#[tokio::test]
async fn what_a_gateway_does_not_use_another_one_gets() {
    let (_store, secret, repository) = database().await;
    let first = Gateway::start(&repository, &secret).await;
    let running = first.reserve(100).await.unwrap();
    let second = Gateway::start(&repository, &secret).await;
    // The first one has leased all, and gives back what no call uses.
    let mut large = second.reserve(BUDGET - 100).await;
    for _ in 0..50 {
        if large.is_err() {
            large = second.reserve(BUDGET - 100).await;
        }
    }
    assert!(large.unwrap().granted_tokens() >= 16);
    running.settle(tokens(40));
}

#[tokio::test]
async fn a_gateway_that_crashes_loses_its_leases() {
    let (store, _, repository) = database().await;
    let key = repository.list().await.unwrap()[0].id;
    let statement = Statement {
        demand: 50,
        ..statement()
    };
    let (crashed, other) = (Uuid::now_v7(), Uuid::now_v7());
    let exchange = async |gateway, number, statement: &Statement, may_end_leases| {
        let exchange = Exchange {
            gateway,
            number,
            statements: &[(key, *statement)],
            lease_time: LEASE_TIME,
            may_end_leases,
        };
        let exchanged = repository.exchange(&exchange).await.unwrap();
        (exchanged.granted[0], exchanged.is_new)
    };
    assert_eq!(
        exchange(crashed, 1, &statement, false).await.0.lease,
        BUDGET
    );
    assert_eq!(exchange(other, 1, &statement, true).await.0.lease, 0);

    forget_time_of(&store, crashed).await;
    // Nobody ends them unless it has seen the database well for long enough.
    assert_eq!(exchange(other, 2, &statement, false).await.0.lease, 0);
    assert_eq!(exchange(other, 3, &statement, true).await.0.lease, BUDGET);
    // It was only slow: it gets nothing for what others have now, and what it has spent is counted.
    let back = Statement {
        spent: 70,
        given_out: BUDGET - 70,
        ..statement
    };
    let (granted, is_new) = exchange(crashed, 2, &back, false).await;
    assert_eq!((granted.spent, granted.lease, is_new), (70, 0, true));
}

#[tokio::test]
async fn an_exchange_that_is_repeated_counts_once_even_if_the_gateway_was_lost_in_between() {
    let (store, _, repository) = database().await;
    let key = repository.list().await.unwrap()[0].id;
    let gateway = Uuid::now_v7();
    let exchange = async |gateway, number, spent, may_end_leases| {
        let statement = Statement {
            spent,
            ..statement()
        };
        let exchange = Exchange {
            gateway,
            number,
            statements: &[(key, statement)],
            lease_time: LEASE_TIME,
            may_end_leases,
        };
        repository.exchange(&exchange).await.unwrap().granted[0]
    };
    for _ in 0..2 {
        assert_eq!(exchange(gateway, 4, 30, false).await.spent, 30);
    }
    forget_time_of(&store, gateway).await;
    assert_eq!(exchange(Uuid::now_v7(), 1, 5, true).await.spent, 35);
    // Its answer is repeated to it, and it goes on.
    assert_eq!(exchange(gateway, 4, 30, false).await.spent, 35);
    assert_eq!(exchange(gateway, 5, 7, false).await.spent, 42);
}

#[tokio::test]
async fn what_many_keys_spend_is_exchanged_in_parts() {
    const KEYS: usize = ACCOUNTS_MAX + 40;
    let (_, _, repository) = database().await;
    let mut secrets = Vec::new();
    for _ in 0..KEYS {
        let mut settings = KeySettings::named("app");
        settings.limits.budgets = vec!["tokens=1000/total".parse().unwrap()];
        let created = repository.create(&Actor::Local, Role::Inference, SecretKind::Live, settings);
        secrets.push(created.await.unwrap().1);
    }
    let (directory, mut saver) = alone(&repository).await;
    let identities: Vec<_> = secrets
        .iter()
        .map(|new| identity(&directory, new))
        .collect();
    let now = std::time::Instant::now();
    let mut calls: Vec<_> = identities
        .iter()
        .map(|identity| Box::pin(identity.reserve(ask(40), now)))
        .collect();
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
    for _ in 0..2 {
        saver.exchange(false).await;
    }
    for allowance in join_all(calls).await {
        allowance.unwrap().settle(tokens(3));
    }
    for _ in 0..2 {
        saver.exchange(false).await;
    }
    assert!(saver.next_batch().is_empty());
    saver.begin_round();
    let sizes = [(); 3].map(|()| saver.next_batch().len());
    assert_eq!(sizes, [ACCOUNTS_MAX, 40, 0]);
    let spent = repository.spent().await.unwrap();
    assert_eq!(spent.len(), KEYS);
    assert!(spent.iter().all(|spent| spent.amount == 3));
}

#[tokio::test]
async fn after_an_outage_a_gateway_that_was_idle_gives_others_time_to_come_back() {
    let (store, secret, repository) = database().await;
    let key = repository.list().await.unwrap()[0].id;
    let busy = Uuid::now_v7();
    let leases = async || -> i64 {
        on_each!(store, pool => {
            let text = "SELECT COUNT(*) FROM featherwire_leases WHERE gateway_id = $1";
            let count = sqlx::query_scalar(text).bind(busy);
            count.fetch_one(pool).await.unwrap()
        })
    };
    let demand = Statement {
        demand: 50,
        ..statement()
    };
    let exchange = Exchange {
        gateway: busy,
        number: 1,
        statements: &[(key, demand)],
        lease_time: LEASE_TIME,
        may_end_leases: false,
    };
    repository.exchange(&exchange).await.unwrap();
    let (directory, mut saver) = alone(&repository).await;
    let identity = identity(&directory, &secret);
    let call = async |saver: &mut Saver| {
        let call = identity.reserve(ask(10), std::time::Instant::now());
        assert!(call.now_or_never().is_none());
        saver.exchange(false).await;
    };
    call(&mut saver).await;
    advance(LEASE_TIME * 2).await;
    // Nobody could write.
    forget_time_of(&store, busy).await;
    call(&mut saver).await;
    assert_eq!((leases().await, saver.has_lost), (1, true));
    // Without calls it goes on to look, and then it knows that the other one is lost.
    let mut rounds = 0;
    while saver.has_lost {
        assert_eq!(leases().await, 1);
        advance(ROUND_EVERY).await;
        saver.exchange(true).await;
        rounds += 1;
    }
    assert_eq!((leases().await, rounds), (0, LEASE_TIME.as_secs()));
}

#[tokio::test]
async fn a_locked_database_stops_a_gateway_only_if_it_may_not_be_the_only_one() {
    let folder = std::env::temp_dir().join(format!("featherwire-saver-{}", std::process::id()));
    let location = DatabaseLocation::File(folder.join("keys.db"));
    let store = Store::open(&location).await.unwrap();
    let (secret, repository) = with_key(&store).await;
    let presence = repository.enter().await.unwrap().map(Arc::new);
    let gateway = Gateway::start_with(&repository, &secret, presence).await;
    gateway.reserve(100).await.unwrap().settle(tokens(1));
    let other_store = Store::open(&location).await.unwrap();
    let lock = on_each!(other_store, pool => {
        let mut lock = pool.begin_write().await.unwrap();
        sqlx::query("UPDATE featherwire_versions SET version = version")
            .execute(&mut *lock)
            .await
            .unwrap();
        Box::new(lock) as Box<dyn std::any::Any>
    });
    // Hours pass, but only on this clock.
    tokio::time::pause();
    for _ in 0..200 {
        sleep(LEASE_TIME / 3).await;
        gateway.reserve(10).await.unwrap().settle(tokens(1));
    }
    let other = other_store.enter();
    let mut until_refused = 0;
    while until_refused < 99 && gateway.reserve(10).await.is_ok() {
        sleep(LEASE_TIME / 30).await;
        until_refused += 1;
    }
    assert!((15..=29).contains(&until_refused), "{until_refused}");
    let refusal = gateway.reserve(10).await.unwrap_err();
    assert_eq!(refusal.code(), "budget_unknown");
    // What was given out before is saved when the lock ends, and then calls go on.
    tokio::time::resume();
    drop(lock);
    let mut again = gateway.reserve(10).await;
    while again.is_err() {
        again = gateway.reserve(10).await;
    }
    drop((again, other));
    gateway.end().await;
    assert_eq!(spent(&repository).await, 201);
    std::fs::remove_dir_all(folder).unwrap();
}
