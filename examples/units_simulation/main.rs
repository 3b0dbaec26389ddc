//! What the scheduler makes of a plan's units, against a plain queue and against sending and trying
//! again.
//!
//! `cargo run --release --example units_simulation`: Markdown, the same figures every time.
//! docs/scheduler.md explains.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "it fails by panicking"
)]

mod load;
mod policies;
mod tables;
mod world;

use load::{Load, REQUESTS};
use tables::{keys, table};

fn main() {
    let all = |offered: f64, outsiders_per_minute: f64| -> Vec<Load> {
        let loads = [4, 8, 100]
            .into_iter()
            .flat_map(|capacity| [2.0, 10.0, 60.0].map(|service| (capacity, service)));
        loads
            .map(|(capacity, service)| Load {
                capacity,
                service,
                offered,
                outsiders_per_minute,
            })
            .collect()
    };
    println!("Waits in seconds, p50 / p99. {REQUESTS} requests in each run.");
    table(
        "Saturation: a third more is asked for than there is",
        &all(1.33, 0.0),
    );
    table("Busy: seven tenths of what there is", &all(0.7, 0.0));
    table("Saturation, with outsiders", &all(1.33, 2.0));
    table("Half busy, with outsiders", &all(0.5, 2.0));
    table("Busy, with outsiders", &all(0.7, 2.0));
    table("Half busy, with half as many outsiders", &all(0.5, 1.0));
    keys(&Load {
        capacity: 8,
        service: 10.0,
        offered: 1.33,
        outsiders_per_minute: 0.0,
    });
}
