//! Gateways and databases that are away for some time, and clocks that are wrong.

use super::*;

#[tokio::test]
async fn a_gateway_that_crashes_loses_its_leases() {
    let (store, _, repository) = database().await;
    let key = repository.list().await.unwrap().0[0].id;
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
    let key = repository.list().await.unwrap().0[0].id;
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
async fn after_an_outage_a_gateway_that_was_idle_gives_others_time_to_come_back() {
    let (store, secret, repository) = database().await;
    let key = repository.list().await.unwrap().0[0].id;
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
    let clock = StillClock::stop();
    let call = async |saver: &mut Saver| {
        let call = identity.reserve(ask(10), std::time::Instant::now());
        assert!(call.now_or_never().is_none());
        saver.exchange(false).await;
    };
    call(&mut saver).await;
    clock.advance(LEASE_TIME * 2).await;
    // Nobody could write.
    forget_time_of(&store, busy).await;
    call(&mut saver).await;
    assert_eq!((leases().await, saver.has_lost), (1, true));
    // Without calls it goes on to look, and then it knows that the other one is lost.
    let mut rounds = 0;
    while saver.has_lost {
        assert_eq!(leases().await, 1);
        clock.advance(ROUND_EVERY).await;
        saver.exchange(true).await;
        rounds += 1;
    }
    assert_eq!((leases().await, rounds), (0, LEASE_TIME.as_secs()));
}

#[tokio::test]
async fn a_clock_that_is_a_year_ahead_does_not_end_the_day_of_a_budget() {
    let (_store, _, repository) = database().await;
    let key = repository.list().await.unwrap().0[0].id;
    let today = BudgetPeriod::Day.window(now());
    let exchange = async |gateway, window| {
        let statement = Statement {
            name: AccountName {
                of: BudgetUnit::Tokens,
                per: BudgetPeriod::Day,
            },
            window,
            spent: 10,
            demand: 50,
            ..statement()
        };
        let exchange = Exchange {
            gateway,
            number: 1,
            statements: &[(key, statement)],
            lease_time: LEASE_TIME,
            may_end_leases: false,
        };
        let granted = repository.exchange(&exchange).await.unwrap().granted[0];
        let mut account = Account::new(statement.name, window, true);
        account.take(&statement, &granted);
        (granted.window, granted.spent, account.window, granted.lease)
    };
    // What it has spent is not lost, and it learns the day.
    let wrong = exchange(Uuid::now_v7(), today + 365).await;
    assert_eq!(wrong, (today, 10, today, 0));
    let right = exchange(Uuid::now_v7(), today).await;
    assert_eq!(right, (today, 20, today, (BUDGET - 20) / 2));
}

/// Lets statements fail at once if the database is locked, as they otherwise do after some seconds.
async fn find_locks_at_once(store: &Store) {
    on_each!(store, pool => {
        let mut connections = Vec::new();
        for _ in 0..pool.options().get_max_connections() {
            let mut connection = pool.acquire().await.unwrap();
            let statement = sqlx::query("PRAGMA busy_timeout = 0");
            statement.execute(&mut *connection).await.unwrap();
            connections.push(connection);
        }
    });
}

#[tokio::test]
async fn a_locked_database_stops_a_gateway_only_if_it_may_not_be_the_only_one() {
    let folder = std::env::temp_dir().join(format!("featherwire-saver-{}", Uuid::now_v7()));
    let location = DatabaseLocation::File(folder.join("keys.db"));
    let store = Store::open(&location).await.unwrap();
    let (secret, repository) = with_key(&store).await;
    find_locks_at_once(&store).await;
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
    let clock = StillClock::stop();
    let news = gateway.identity.spending().news();
    let fails_after = async |time| {
        let number = news.exchanges().number;
        clock.advance(time).await;
        news.exchange_after(number).await;
        news.exchanges().is_failing
    };
    // An exchange may have begun before the lock.
    let mut rounds = 0;
    while !fails_after(ROUND_EVERY).await {
        rounds += 1;
        assert!(rounds < 10, "exchanges do not fail");
    }
    for _ in 0..200 {
        assert!(fails_after(LEASE_TIME / 3).await);
        let call = gateway.reserve(10).now_or_never();
        call.expect("it waits for nothing")
            .unwrap()
            .settle(tokens(1));
    }
    let other = other_store.enter();
    let mut until_refused = Duration::ZERO;
    // A call that must wait is refused, because the database does not answer.
    while let Some(call) = gateway.reserve(10).now_or_never() {
        assert!(call.is_ok() && until_refused < LEASE_TIME);
        clock.advance(LEASE_TIME / 30).await;
        until_refused += LEASE_TIME / 30;
    }
    let margin = LEASE_TIME / 6;
    assert_eq!(until_refused, LEASE_TIME - margin);
    drop(clock);
    let refusal = gateway.reserve(10).await.unwrap_err();
    assert_eq!(refusal.code(), "budget_unknown");
    // What was given out before is saved when the lock ends, and then calls go on.
    drop(lock);
    let mut again = gateway.reserve(10).await;
    while again.is_err() {
        again = gateway.reserve(10).await;
    }
    drop((again, other));
    gateway.end().await;
    assert_eq!(spent(&repository).await, 201);
    store.close().await;
    other_store.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}
