//! Measures how the gateway finds the caller of a request among 100,000 keys.
//!
//! `cargo bench --bench keys`

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking"
)]

use std::{hint::black_box, time::Instant};

use criterion::Criterion;
use featherwire::keys::Directory;
use secrecy::SecretString;

const KEYS: usize = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let secret = |n: usize| format!("gw_live_{:08}_{:043}", n, n.wrapping_mul(2_654_435_761));
    let secrets: Vec<_> = (0..KEYS).map(secret).collect();
    let keys: Vec<_> = secrets
        .iter()
        .map(|one| SecretString::from(one.as_str()))
        .collect();
    let directory = Directory::new(&keys, &[]);
    // Each lookup asks for another key, so that it is not in the cache of the processor.
    criterion.bench_function("find a key among 100,000", |bencher| {
        bencher.iter_custom(|iterations| {
            let begin = Instant::now();
            for n in 0..iterations as usize {
                let secret = &secrets[n % KEYS];
                black_box(
                    directory
                        .find(black_box(secret.as_bytes()))
                        .unwrap()
                        .unwrap(),
                );
            }
            begin.elapsed()
        });
    });
    criterion.bench_function("do not find a key among 100,000", |bencher| {
        let unknown = secret(KEYS);
        bencher.iter(|| black_box(directory.find(black_box(unknown.as_bytes())).is_ok()));
    });
    criterion.final_summary();
}
