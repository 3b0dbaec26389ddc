use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use super::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn budgets(texts: &[&str]) -> Vec<Budget> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn spending() -> Arc<Spending> {
    Spending::new(Uuid::nil(), SpendingNews::default())
}

/// Which budget refuses, and what it has left.
fn refused(result: Result<Reservation, Refusal>) -> Shortage {
    match result.unwrap_err() {
        Refusal::Spent(shortage) | Refusal::Reserved(shortage) => shortage,
        Refusal::NotLeased(_) => panic!("there is no other gateway"),
    }
}

fn call(tokens: u64) -> Amounts {
    Amounts {
        tokens,
        requests: 1,
        unit_ms: 0,
    }
}

#[test]
fn a_call_gets_less_tokens_if_less_are_left_and_none_below_the_least() {
    let spending = spending();
    let budgets = budgets(&["tokens=100/day", "requests=10/day"]);
    let mut first = spending
        .reserve(&budgets, call(70), 10, Terms::Whole, 0)
        .unwrap();
    let second = spending
        .reserve(&budgets, call(70), 10, Terms::Whole, 0)
        .unwrap();
    assert_eq!((first.granted().tokens, second.granted().tokens), (70, 30));
    let refused = self::refused(spending.reserve(&budgets, call(70), 10, Terms::Whole, 0));
    assert_eq!((refused.budget, refused.left), (budgets[0], 0));
    assert_eq!(refused.renews_at, Some(DAY_MS));
    first.record(call(5));
    drop(first);
    assert_eq!(spending.state(&budgets[0], 0), (5, 30));
    drop(second);
    assert_eq!(spending.state(&budgets[0], 0), (5, 0));
    assert_eq!(
        spending.state(&budgets[1], 0),
        (1, 0),
        "a call that used nothing"
    );
}

#[test]
fn a_refused_call_reserves_nothing_of_any_budget() {
    let spending = spending();
    let budgets = budgets(&["tokens=100/day", "requests=1/total"]);
    let _running = spending
        .reserve(&budgets, call(10), 1, Terms::Whole, 0)
        .unwrap();
    let refused = self::refused(spending.reserve(&budgets, call(10), 1, Terms::Whole, 0));
    assert_eq!((refused.budget, refused.renews_at), (budgets[1], None));
    assert_eq!(spending.state(&budgets[0], 0), (0, 10));
}

#[test]
fn a_call_over_midnight_belongs_to_the_day_of_its_start() {
    let spending = spending();
    let budgets = budgets(&["tokens=100/day", "tokens=150/total"]);
    let mut late = spending
        .reserve(&budgets, call(80), 1, Terms::Whole, DAY_MS - 1)
        .unwrap();
    let next = spending
        .reserve(&budgets, call(80), 1, Terms::Whole, DAY_MS)
        .unwrap();
    assert_eq!(next.granted().tokens, 70, "the total knows no midnight");
    late.record(call(80));
    drop(late);
    assert_eq!(spending.state(&budgets[0], DAY_MS), (0, 70));
    assert_eq!(spending.state(&budgets[1], DAY_MS), (80, 70));
    // The clock goes back: the day does not come again.
    assert_eq!(spending.state(&budgets[0], 0), (0, 70));
}

#[test]
fn unit_seconds_are_counted_in_milliseconds() {
    let spending = spending();
    let budgets = budgets(&["unit-seconds=2/day"]);
    let ask = |unit_ms| Amounts {
        unit_ms,
        ..Amounts::default()
    };
    let mut first = spending
        .reserve(&budgets, ask(1500), 0, Terms::Whole, 0)
        .unwrap();
    assert_eq!(
        refused(spending.reserve(&budgets, ask(501), 0, Terms::Whole, 0)).left,
        0
    );
    first.record(ask(100));
    drop(first);
    assert!(
        spending
            .reserve(&budgets, ask(1900), 0, Terms::Whole, 0)
            .is_ok()
    );
}

#[test]
fn callers_that_race_and_hang_up_spend_no_more_than_the_budget() {
    const LIMIT: u64 = 100_000;
    let spending = spending();
    let budgets = budgets(&["tokens=100000/day"]);
    let (reserved, spent, released) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..8_u64 {
            let (spending, budgets) = (&spending, &budgets);
            let (reserved, spent, released) = (&reserved, &spent, &released);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..5000 {
                    let ask = call(random.u64(1..500));
                    let Ok(mut call_of) = spending.reserve(budgets, ask, 1, Terms::Whole, 0) else {
                        continue;
                    };
                    let granted = call_of.granted().tokens;
                    // A third hang up at any time.
                    let used = match random.u8(0..3) {
                        0 => random.u64(0..=granted),
                        _ => granted / 7,
                    };
                    call_of.record(call(used));
                    let (of_all, in_use) = spending.state(&budgets[0], 0);
                    assert!(of_all + in_use <= LIMIT);
                    drop(call_of);
                    reserved.fetch_add(granted, Relaxed);
                    spent.fetch_add(used, Relaxed);
                    released.fetch_add(granted - used, Relaxed);
                }
            });
        }
    });
    let [reserved, spent, released] = [reserved, spent, released].map(AtomicU64::into_inner);
    assert_eq!(spent + released, reserved);
    assert_eq!(spending.state(&budgets[0], 0), (spent, 0));
    assert!(spent <= LIMIT && spent > LIMIT - 500, "{spent}");
}

#[test]
fn days_begin_by_the_clock_of_the_database() {
    let spending = spending();
    let budgets = budgets(&["tokens=100/day"]);
    spending.news().set_clock_offset(-400 * DAY_MS);
    let mut running = spending
        .reserve(&budgets, call(80), 1, Terms::Whole, 400 * DAY_MS)
        .unwrap();
    running.record(call(30));
    drop(running);
    assert_eq!(spending.state(&budgets[0], 400 * DAY_MS), (30, 0));
    let too_many = spending.reserve(&budgets, call(80), 80, Terms::Whole, 400 * DAY_MS);
    assert_eq!(refused(too_many).renews_at, Some(DAY_MS));
}
