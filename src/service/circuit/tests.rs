use super::*;

const WAIT: Duration = Duration::from_secs(15);

fn circuits() -> (Circuits, Instant) {
    (
        Circuits::new(
            "",
            Settings {
                failures: 3,
                wait: WAIT,
            },
        ),
        Instant::now(),
    )
}

fn fail(circuits: &Circuits, times: u32, now: Instant) {
    (0..times).for_each(|_| {
        circuits
            .pass("m", now)
            .unwrap()
            .record_failure("no_capacity", now)
    });
}

#[tokio::test]
async fn failures_in_a_row_open_it_and_a_probe_closes_it() {
    let (circuits, now) = circuits();
    fail(&circuits, 3, now);
    let error = circuits.pass("m", now + WAIT / 3).unwrap_err();
    assert_eq!(
        (error.code(), error.retry_after()),
        ("circuit_open", Some(WAIT * 2 / 3))
    );
    assert!(error.message().contains("no_capacity"), "{error}");
    circuits.pass("other", now).unwrap().record_success();
    let probe = circuits.pass("m", now + WAIT).unwrap();
    assert!(
        circuits.pass("m", now + WAIT).is_err(),
        "one probe at a time"
    );
    probe.record_success();
    fail(&circuits, 2, now + WAIT);
    assert!(
        circuits.pass("m", now + WAIT).is_ok(),
        "closed, and counting from nothing"
    );
}

#[tokio::test]
async fn a_failed_probe_doubles_the_wait_up_to_a_bound() {
    let (circuits, mut now) = circuits();
    fail(&circuits, 3, now);
    for wait in [15, 30, 60, 120, 120].map(Duration::from_secs) {
        assert!(
            circuits
                .pass("m", now + wait - Duration::from_millis(1))
                .is_err(),
            "{wait:?}"
        );
        now += wait;
        circuits
            .pass("m", now)
            .unwrap()
            .record_failure("no_capacity", now);
    }
}

#[tokio::test]
async fn an_abandoned_probe_lets_the_next_one_try() {
    let (circuits, now) = circuits();
    fail(&circuits, 3, now);
    drop(circuits.pass("m", now + WAIT).unwrap());
    assert!(circuits.pass("m", now + WAIT).is_ok());
}

#[tokio::test]
async fn a_probe_that_is_answered_lets_others_ask_and_one_failure_opens_it_again() {
    let (circuits, now) = circuits();
    fail(&circuits, 3, now);
    let mut probe = circuits.pass("m", now + WAIT).unwrap();
    assert!(probe.is_probe());
    probe.record_start();
    let other = circuits.pass("m", now + WAIT).unwrap();
    assert!(
        !other.is_probe(),
        "the model answers: other calls do not wait for the end of that answer"
    );
    probe.record_failure("upstream_stream_cut", now + WAIT);
    let error = circuits.pass("m", now + WAIT).unwrap_err();
    assert_eq!(
        error.retry_after(),
        Some(WAIT * 2),
        "an answer that is cut in the middle has failed"
    );
    assert!(error.message().contains("4 times"), "{error}");
    other.record_success();
    assert!(!circuits.pass("m", now + WAIT).unwrap().is_probe());
}

#[tokio::test]
async fn a_caller_who_leaves_a_probe_in_the_middle_of_its_answer_leaves_the_model_usable() {
    let (circuits, now) = circuits();
    fail(&circuits, 3, now);
    let mut probe = circuits.pass("m", now + WAIT).unwrap();
    probe.record_start();
    drop(probe);
    fail(&circuits, 1, now + WAIT);
    assert!(
        circuits.pass("m", now + WAIT).is_err(),
        "on trial until an answer has come to its end"
    );
}

#[tokio::test]
async fn failures_that_take_long_add_up_too() {
    let (circuits, mut now) = circuits();
    for _ in 0..3 {
        let pass = circuits.pass("m", now).unwrap();
        now += FAILURES_WINDOW * 5;
        pass.record_failure("first_token_timeout", now);
    }
    assert!(circuits.pass("m", now).is_err());
}

#[tokio::test]
async fn what_does_not_come_in_a_row_does_not_add_up() {
    let (circuits, now) = circuits();
    fail(&circuits, 2, now);
    circuits.pass("m", now).unwrap().record_success();
    fail(&circuits, 2, now);
    fail(&circuits, 1, now + FAILURES_WINDOW);
    assert!(circuits.pass("m", now + FAILURES_WINDOW).is_ok());
}

#[tokio::test]
async fn late_failures_of_calls_begun_before_change_nothing() {
    let (circuits, now) = circuits();
    let late = circuits.pass("m", now).unwrap();
    fail(&circuits, 3, now);
    late.record_failure("first_token_timeout", now + WAIT / 2);
    assert!(
        circuits.pass("m", now + WAIT).is_ok(),
        "the wait counts from when it opened"
    );
}

#[tokio::test]
async fn how_many_models_are_remembered_is_bounded_and_zero_turns_circuits_off() {
    let (circuits, now) = circuits();
    for number in 0..MODELS_MAX * 2 {
        circuits
            .pass(number.to_string(), now)
            .unwrap()
            .record_failure("no_capacity", now);
    }
    assert_eq!(circuits.models().len(), MODELS_MAX);
    circuits
        .pass("late", now + FAILURES_WINDOW)
        .unwrap()
        .record_failure("no_capacity", now + FAILURES_WINDOW);
    assert_eq!(circuits.models().len(), 1);
    let off = Circuits::new(
        "",
        Settings {
            failures: 0,
            wait: WAIT,
        },
    );
    fail(&off, 100, now);
    assert!(off.pass("m", now).is_ok());
}

#[tokio::test]
async fn one_refusal_opens_the_circuit_of_an_account_and_an_answer_without_a_pass_closes_it() {
    let (circuits, now) = (Circuits::of_accounts(WAIT), Instant::now());
    let pass = circuits.pass("main", now).unwrap();
    pass.record_failure("featherless_api_key_rejected", now);
    let error = circuits.check("main", now).unwrap_err();
    assert_eq!(error.code(), "circuit_open");
    assert!(error.message().contains("account main"), "{error}");
    // It does not count as a probe, so its failure changes nothing.
    circuits.pass_anyway("main", now).record_failure("x", now);
    assert_eq!(circuits.list(now, 9)[0].failures, 1);
    circuits.pass_anyway("main", now).record_success();
    assert!(circuits.check("main", now).is_ok());
}

#[tokio::test]
async fn a_probe_of_an_account_holds_others_back_for_a_few_seconds_only() {
    let (circuits, now) = (Circuits::of_accounts(WAIT), Instant::now());
    fail(&circuits, 1, now);
    let later = now + WAIT;
    let slow = circuits.pass("m", later).unwrap();
    let until = later + ACCOUNT_PROBE_MAX;
    let soon = until - Duration::from_millis(1);
    assert!(circuits.check("m", soon).is_err() && circuits.pass("m", soon).is_err());
    circuits.check("m", until).unwrap();
    let second = circuits.pass("m", until).unwrap();
    assert!(circuits.pass("m", until).is_err(), "it is a probe too");
    // The first one tells nothing if its caller leaves.
    drop(slow);
    assert!(circuits.pass("m", until).is_err());
    second.record_success();
    circuits.pass("m", until).unwrap();
}
