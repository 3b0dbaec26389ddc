use std::sync::{
    atomic::{AtomicU64, Ordering::Relaxed},
    mpsc,
};

use futures_util::{FutureExt as _, future::join_all};
use secrecy::ExposeSecret;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    config::DatabaseLocation,
    keys::{
        Actor, Allowance, Amounts, Ask, BudgetPeriod, BudgetUnit, Directory, Identity, KeySettings,
        NewSecret, Role, SecretKind,
        account::{Account, AccountName},
        repository::LEASE_TIME,
    },
    store::{BeginWrite as _, Store, on_each},
};

mod loss;

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
        model_max_tokens: None,
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

/// A clock that only [`advance`](StillClock::advance) moves. A clock of tokio that is only paused
/// goes on to the next timer while a thread of SQLite works, because tokio does not know of it: all
/// time limits pass before the database has answered.
struct StillClock {
    _until_dropped: mpsc::Sender<()>,
}

impl StillClock {
    fn stop() -> Self {
        let (sender, dropped) = mpsc::channel::<()>();
        // The clock does not go on by itself as long as such a task runs.
        tokio::task::spawn_blocking(move || dropped.recv());
        tokio::time::pause();
        Self {
            _until_dropped: sender,
        }
    }

    async fn advance(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

impl Drop for StillClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
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
