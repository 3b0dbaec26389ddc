//! Simulates the scheduler, and compares it with a plain queue and with retries without a queue.
//!
//! `cargo run --release --example units_simulation` prints Markdown, with the same figures every
//! time. docs/scheduler.md explains the tables.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "this program fails by panicking"
)]

mod load;
mod policies;
mod tables;
mod world;

use load::{Load, REQUESTS};
use tables::{keys, table};

fn main() {
    let all = |offered: f64, external_per_minute: f64| -> Vec<Load> {
        let loads = [4, 8, 100]
            .into_iter()
            .flat_map(|capacity| [2.0, 10.0, 60.0].map(|service| (capacity, service)));
        loads
            .map(|(capacity, service)| Load {
                capacity,
                service,
                offered,
                external_per_minute,
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
    keys(&Load {
        capacity: 8,
        service: 10.0,
        offered: 1.33,
        external_per_minute: 0.0,
    });
}
