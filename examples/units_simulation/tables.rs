//! Prints the results as Markdown.

use featherwire::admission::Priority;

use crate::{
    load::{KEYS, Load, requests},
    policies::policies,
    world::{Report, World},
};

fn percentiles(waits: impl Iterator<Item = f64>) -> String {
    let mut waits: Vec<_> = waits.collect();
    waits.sort_by(f64::total_cmp);
    let of = |percent: usize| {
        waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)))
    };
    let show = |wait: Option<&f64>| wait.map_or("-".to_owned(), |wait| format!("{wait:.1}"));
    format!("{} / {}", show(of(50)), show(of(99)))
}

fn of_class(report: &Report, priority: Priority) -> String {
    let keys = KEYS
        .iter()
        .zip(&report.waits)
        .filter(|(key, _)| key.2 == priority);
    percentiles(keys.flat_map(|(_, waits)| waits.iter().copied()))
}

pub fn table(title: &str, loads: &[Load]) {
    println!("\n### {title}\n");
    println!(
        "| units | service s | load | external usage | policy | of the ideal | interactive | \
         default | batch | 429s upstream | failed | snapshots |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for load in loads {
        let requests = requests(load);
        for (name, mut policy) in policies(load) {
            let report = World::new(*load, &requests).run(&mut *policy);
            let seconds = requests.last().map_or(0.0, |last| last.at.as_secs_f64());
            println!(
                "| {} | {} | {:.2} | {:.1} % | {name} | {:.1} % | {} | {} | {} | {:.3} % | {:.2} \
                 % | {:.2} |",
                load.capacity,
                load.service,
                load.offered,
                100.0 * report.external_busy / seconds / f64::from(load.capacity),
                100.0 * report.busy / report.ideal,
                of_class(&report, Priority::Interactive),
                of_class(&report, Priority::Default),
                of_class(&report, Priority::Batch),
                100.0 * report.refused as f64 / requests.len() as f64,
                100.0 * report.failed as f64 / requests.len() as f64,
                report.asked as f64 / requests.len() as f64,
            );
        }
    }
}

pub fn keys(load: &Load) {
    println!(
        "\n### By key: {} units, {} s, load {:.2}\n",
        load.capacity, load.service, load.offered
    );
    println!(
        "| policy | {} |",
        KEYS.map(|key| format!("{} ({:?}, weight {})", key.0, key.2, key.1))
            .join(" | ")
    );
    println!("|---|---|---|---|---|---|");
    let requests = requests(load);
    for (name, mut policy) in policies(load) {
        let report = World::new(*load, &requests).run(&mut *policy);
        let total: f64 = report.granted.iter().sum();
        let cell = |(waits, granted): (&Vec<f64>, &f64)| {
            format!(
                "{}, {:.1} %",
                percentiles(waits.iter().copied()),
                100.0 * granted / total
            )
        };
        let cells: Vec<_> = report.waits.iter().zip(&report.granted).map(cell).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}
