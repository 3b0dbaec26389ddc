//! Measures how the gateway finds the caller of a request among 100,000 keys, and checks its limits.
//!
//! `cargo bench --bench keys`

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::Criterion;
use featherwire::keys::{
    Amounts, Ask, Changes, Digest, Directory, Identity, Key, KeySettings, Role,
};
use futures_util::FutureExt;
use uuid::Uuid;

const KEYS: usize = 100_000;

const ASK: Ask = Ask {
    prompt_tokens: 40,
    choices: 1,
    max_tokens: Some(100),
    model_max_tokens: Some(4096),
};

fn secret(number: usize) -> String {
    let hidden = number.wrapping_mul(2_654_435_761);
    format!("gw_live_{number:08}_{hidden:043}")
}

/// A key with a limit of each kind that a call checks.
fn key(number: usize) -> Key {
    let mut settings = KeySettings::named(format!("key {number}"));
    let limits = &mut settings.limits;
    limits.models = vec!["org/*".to_owned(), "other/model".to_owned()];
    limits.requests_per_minute = Some(1_000_000);
    limits.tokens_per_minute = Some(1_000_000_000);
    limits.budgets = vec![
        "tokens=1000000000/day".parse().unwrap(),
        "requests=1000000000/month".parse().unwrap(),
    ];
    Key {
        id: Uuid::now_v7(),
        role: Role::Inference,
        settings,
        created_at: 0,
        revoked_at: None,
        calls_cut_at: None,
        last_used_at: None,
        secrets: Vec::new(),
    }
}

/// Runs `each` with a secret of another key each time, so that it is not in the processor's cache.
fn time(secrets: &[String], iterations: u64, mut each: impl FnMut(&str)) -> Duration {
    let begin = Instant::now();
    for number in 0..iterations as usize {
        each(&secrets[number % secrets.len()]);
    }
    begin.elapsed()
}

fn find(directory: &Directory, secret: &str) -> Identity {
    let found = directory.find(black_box(secret.as_bytes()));
    found.unwrap().unwrap()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let secrets: Vec<_> = (0..KEYS).map(secret).collect();
    let directory = Directory::new(&[], &[]);
    let with_secret = |number: usize| {
        let digest = Digest::of(secrets[number].as_bytes());
        (key(number), vec![(digest, None)])
    };
    directory.apply(Changes {
        changed: (0..KEYS).map(with_secret).collect(),
        ..Changes::default()
    });
    criterion.bench_function("find a key among 100,000", |bencher| {
        bencher.iter_custom(|iterations| {
            time(&secrets, iterations, |secret| {
                black_box(find(&directory, secret));
            })
        });
    });
    criterion.bench_function("do not find a key among 100,000", |bencher| {
        let unknown = secret(KEYS);
        bencher.iter(|| black_box(directory.find(black_box(unknown.as_bytes())).is_ok()));
    });
    criterion.bench_function("find a key, check its calls and the model", |bencher| {
        bencher.iter_custom(|iterations| {
            let now = Instant::now();
            time(&secrets, iterations, |secret| {
                let identity = find(&directory, secret);
                black_box(identity.begin_call(now).now_or_never().unwrap().unwrap());
                identity.check_model("org/model", "org/model").unwrap();
            })
        });
    });
    criterion.bench_function("the same, reserve tokens and budgets, settle", |bencher| {
        bencher.iter_custom(|iterations| {
            let now = Instant::now();
            time(&secrets, iterations, |secret| {
                let identity = find(&directory, secret);
                black_box(identity.begin_call(now).now_or_never().unwrap().unwrap());
                identity.check_model("org/model", "org/model").unwrap();
                let reserved = identity.reserve(ASK, now).now_or_never();
                reserved.unwrap().unwrap().settle(Amounts {
                    tokens: 120,
                    requests: 1,
                    unit_ms: 30,
                });
            })
        });
    });
    criterion.final_summary();
}
