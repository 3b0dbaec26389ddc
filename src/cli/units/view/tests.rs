use super::{super::feed::News, *};
use crate::proto::v1::{
    AccountUnits, ActiveRequest, CircuitState, Concurrency, KeyUnits, ModelCircuit,
    QueuedByPriority,
};

const PLAIN: Look = Look { has_colours: false };

/// A busy account: 15 of 16 units are used, and 23 requests wait.
fn busy() -> State {
    let mut state = State::new("http://127.0.0.1:8000".to_owned());
    let request = |id: &str, cost, model: &str, duration_ms| ActiveRequest {
        id: Some(id.to_owned()),
        cost: Some(cost),
        model: Some(model.to_owned()),
        duration_ms: Some(duration_ms),
        ..ActiveRequest::default()
    };
    let key = |key, weight, in_use, queued, unit_seconds| KeyUnits {
        key,
        weight,
        in_use,
        queued,
        unit_seconds,
        ..KeyUnits::default()
    };
    let snapshot = |used| Concurrency {
        limit: Some(16),
        used_cost: Some(used - 1),
        requests: vec![
            request("1", 4, "Qwen/Qwen2.5-72B-Instruct", 31_200),
            request("2", 1, "meta-llama/Meta-Llama-3.1-8B-Instruct", 12_000),
            request("3", 2, "google/gemma-2-27b-it", 4_000),
            request("4", 4, "deepseek-ai/\x1b[31mDeepSeek-V3", 2_300),
            request("5", 1, "meta-llama/Meta-Llama-3.1-8B-Instruct", 900),
            request("6", 1, "meta-llama/Meta-Llama-3.1-8B-Instruct", 400),
        ],
        gateway: Some(GatewayUnits {
            capacity: Some(16),
            in_use: used - 2,
            outside: 1,
            settling: 1,
            running: 6,
            queued: Some(QueuedByPriority {
                interactive: 2,
                default: 13,
                batch: 8,
                ..QueuedByPriority::default()
            }),
            oldest_wait_ms: Some(8_100),
            wait_p50_ms: Some(1_200),
            wait_p99_ms: Some(7_900),
            keys: vec![
                key(1, 4, 9, 12, 8123.0),
                key(2, 1, 4, 11, 2210.0),
                key(3, 1, 0, 0, 12.0),
            ],
            refusals: 2,
            ..GatewayUnits::default()
        }),
        ..Concurrency::default()
    };
    for second in 0..70 {
        let wave = (f64::from(second) / 9.0).sin();
        #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
        let used = (10.0 + 6.0 * wave) as i32;
        let mut snapshot = snapshot(used);
        if let Some(gateway) = &mut snapshot.gateway {
            gateway.queued = Some(QueuedByPriority {
                default: (used - 9).max(0) * 3,
                ..QueuedByPriority::default()
            });
        }
        state.apply(News::Snapshot(Box::new(snapshot)));
        state.sample();
    }
    state.apply(News::Snapshot(Box::new(snapshot(15))));
    state.sample();
    state
}

fn drawn(state: &State, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(state, PLAIN, area, &mut buffer);
    let row = |y| {
        (0..width)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    let rows: Vec<_> = (0..height).map(|y| row(y).trim_end().to_owned()).collect();
    rows.join("\n")
}

#[test]
fn a_large_terminal_shows_everything() {
    let screen = drawn(&busy(), 100, 30);
    for part in [
        "http://127.0.0.1:8000",
        "● live",
        "15 of 16 used",
        "gateway 13 · others 1 · cooldown 1",
        " a   a   a   a   b   c   c   d   d   d   d   e   f  ▓▓▓ ▒▒▒ ░░░",
        "23 waiting · 2 refused",
        "default     ████",
        "the last 71 s",
        " d      4    2.3 s  deepseek-ai/[31mDeepSeek-V3",
        "  2       1      4       11          2210",
    ] {
        assert!(screen.contains(part), "{part:?} in\n{screen}");
    }
}

#[test]
fn a_small_terminal_shows_what_matters() {
    for (width, height) in [(40, 10), (80, 24), (60, 16), (20, 5), (1, 1), (250, 80)] {
        let screen = drawn(&busy(), width, height);
        if width < 40 {
            continue;
        }
        for part in ["● live", "15 of 16 used", "23 waiting", "Qwen/"] {
            assert!(
                screen.contains(part),
                "{width}×{height}: {part:?} in\n{screen}"
            );
        }
    }
}

#[test]
fn a_broken_stream_is_shown() {
    let mut state = busy();
    let problem = "the connection was \x1b[2Jlost".to_owned();
    let pause = Duration::from_secs(4);
    state.apply(News::Lost { problem, pause });
    state.sample();
    let screen = drawn(&state, 100, 30);
    assert!(screen.contains("○ lost, again in 4 s"), "{screen}");
    assert!(screen.contains("the connection was [2Jlost"), "{screen}");
    state.apply(News::Connecting);
    assert!(drawn(&state, 100, 30).contains("○ connecting"));
}

#[test]
fn units_without_a_limit_are_shown_as_they_are_used() {
    let mut state = State::new(String::new());
    assert!(drawn(&state, 60, 10).contains("waiting for the first news"));
    let snapshot = Concurrency {
        unlimited: true,
        used_cost: Some(3),
        ..Concurrency::default()
    };
    state.apply(News::Snapshot(Box::new(snapshot)));
    let screen = drawn(&state, 60, 12);
    assert!(screen.contains("3 of unlimited used"), "{screen}");
    assert!(screen.contains("▓▓▓ ▓▓▓ ▓▓▓"), "{screen}");
    assert!(screen.contains("no request runs"), "{screen}");
}

/// A busy account with this number of models that fail.
fn failing(models: usize) -> State {
    let mut state = busy();
    let mut snapshot = state.snapshot.clone().unwrap();
    let circuit = |number: usize| ModelCircuit {
        model: format!("org/model-\x1b{number}-with-a-long-name-in-the-catalogue"),
        state: CircuitState::Open.into(),
        failures: 3,
        error_code: "upstream_error".to_owned(),
        open_for_ms: Some(12_900),
        ..ModelCircuit::default()
    };
    if let Some(gateway) = &mut snapshot.gateway {
        gateway.circuits = (1..=models).map(circuit).collect();
    }
    state.apply(News::Snapshot(Box::new(snapshot)));
    state
}

#[test]
fn models_that_fail_are_shown_where_there_is_room() {
    let name = "org/model-1-with-a-long-name-in-the-catalogue";
    let large = drawn(&failing(2), 100, 30);
    let row = format!("failing  {name}  upstream_error ×3  rests for 12.");
    assert!(large.contains(&row), "{large}");
    assert!(large.contains("         org/model-2-"), "{large}");
    let many = drawn(&failing(9), 100, 30);
    assert!(many.contains("         org/model-4-"), "{many}");
    assert!(many.contains("         and 5 more"), "{many}");
    // The error gives way to the model.
    for (width, height, part) in [
        (80, 24, "upstream_error ×3  rests for 12."),
        (60, 16, "rests for 12."),
        (40, 10, "rests for 12."),
    ] {
        let screen = drawn(&failing(1), width, height);
        assert!(screen.contains("org/"), "{screen}");
        assert!(screen.contains(part), "{width}×{height}: {screen}");
        assert!(screen.contains("Qwen/"), "{width}×{height}: {screen}");
    }
    let small = drawn(&failing(4), 40, 10);
    assert!(small.contains(" s +3\n"), "{small}");
    assert!(!drawn(&busy(), 100, 30).contains("failing"));
}

#[test]
fn the_rest_of_a_model_ends_with_the_next_call() {
    let circuit = |state: CircuitState, open_for_ms| ModelCircuit {
        state: state.into(),
        open_for_ms,
        ..ModelCircuit::default()
    };
    let words = |state, left| {
        let age = Duration::from_secs(2);
        super::super::circuits::outlook(&circuit(state, left), age)
    };
    assert_eq!(words(CircuitState::Open, Some(5_000)), "rests for 3.0 s");
    for over in [Some(2_000), Some(0), None] {
        assert_eq!(words(CircuitState::Open, over), "the next call tries it");
    }
    assert_eq!(words(CircuitState::HalfOpen, None), "one call tries it");
    assert_eq!(words(CircuitState::Closed, None), "still in use");
}

#[test]
fn several_accounts_have_a_row_each_and_too_many_are_counted() {
    let mut state = busy();
    assert!(!drawn(&state, 100, 40).contains("account"));
    let account = |number: usize| AccountUnits {
        name: format!("team-{number}"),
        gateway: Some(GatewayUnits {
            capacity: Some(8),
            in_use: 3,
            ..GatewayUnits::default()
        }),
        ..AccountUnits::default()
    };
    let mut snapshot = state.snapshot.clone().unwrap();
    snapshot.accounts = (1..=6).map(account).collect();
    snapshot.accounts[1].set_refused(CircuitState::Open);
    snapshot.accounts[1].error_code = "payment_required".to_owned();
    state.apply(News::Snapshot(Box::new(snapshot.clone())));
    let screen = drawn(&state, 100, 40);
    for part in [
        "team-1: 3 of 8 units, 0 waiting",
        "team-2: 3 of 8 units, 0 waiting, refused (payment_required, the next call tries it)",
        "team-6: ",
    ] {
        assert!(screen.contains(part), "{part:?} in\n{screen}");
    }
    snapshot.accounts = (1..=8).map(account).collect();
    state.apply(News::Snapshot(Box::new(snapshot)));
    let screen = drawn(&state, 100, 40);
    assert!(
        screen.contains("team-5") && !screen.contains("team-6"),
        "{screen}"
    );
    assert!(screen.contains("and 3 more"), "{screen}");
}
