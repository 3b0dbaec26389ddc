//! Simulates the scheduler, and compares it with a plain queue and with retries without a queue.
//! With `gateways`, simulates several gateways of one account, with one queue and without. With
//! `leader`, measures the queue of several gateways.
//!
//! `cargo run --release --example units_simulation` prints Markdown, with the same figures every
//! time. docs/scheduler.md explains the tables, and docs/scale.md those of `gateways` and `leader`.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "this program fails by panicking"
)]

mod gateways;
mod load;
mod policies;
mod tables;
mod world;

use std::alloc::System;

use load::{Load, REQUESTS};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tables::{keys, table};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    match std::env::args().nth(1).as_deref() {
        None => scheduler(),
        Some("gateways") => gateways::table(),
        Some("leader") => gateways::leader(),
        Some(other) => panic!("`{other}` is neither `gateways` nor `leader`"),
    }
}

/// The tables of one gateway.
fn scheduler() {
    let all = |offered: f64, external_per_minute: f64| -> Vec<Load> {
        let loads = [4, 8, 100]
            .into_iter()
            .flat_map(|capacity| [2.0, 10.0, 60.0].map(|service| (capacity, service)));
        loads
            .map(|(capacity, service)| {
                Load::of_one(capacity, service, offered, external_per_minute)
            })
            .collect()
    };
    println!("Waits in seconds, p50 / p99. {REQUESTS} requests in each run.");
    table(
        "Saturation: 133 % of the capacity is requested",
        &all(1.33, 0.0),
    );
    table("Busy: 70 % of the capacity is requested", &all(0.7, 0.0));
    table("Saturation, with external usage", &all(1.33, 2.0));
    table("Half busy, with external usage", &all(0.5, 2.0));
    table("Busy, with external usage", &all(0.7, 2.0));
    table("Half busy, with half of the external usage", &all(0.5, 1.0));
    keys(&Load::of_one(8, 10.0, 1.33, 0.0));
}
