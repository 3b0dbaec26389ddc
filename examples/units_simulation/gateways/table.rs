//! Prints the policies of several gateways as Markdown.

use std::ops::Range;

use super::cell::{Cell, Outcome, percentile};

const UNITS: [u32; 3] = [8, 32, 100];
const GATEWAYS: [usize; 3] = [2, 4, 16];
const SEEDS: Range<u64> = 1..6;

pub fn table() {
    println!(
        "| units | gateways | one queue: work | refused | pinned key | delay ms | fixed shares: \
         work | never start | pinned key | feed alone: work | refused | pinned key |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for units in UNITS {
        for gateways in GATEWAYS {
            let cells = SEEDS.map(|seed| Cell::new(gateways, units, seed));
            let cells: Vec<_> = cells
                .map(|cell| [cell.cluster(), cell.share(), cell.feed()])
                .collect();
            let [cluster, share, feed] =
                [0, 1, 2].map(|policy| cells.iter().map(|cell| &cell[policy]).collect::<Vec<_>>());
            let columns = [
                range(&cluster, |outcome| outcome.of_oracle),
                range(&cluster, |outcome| outcome.refused),
                range(&cluster, |outcome| outcome.pinned),
                delays(&cluster),
                range(&share, |outcome| outcome.of_oracle),
                range(&share, |outcome| outcome.stuck),
                range(&share, |outcome| outcome.pinned),
                range(&feed, |outcome| outcome.of_oracle),
                range(&feed, |outcome| outcome.refused),
                range(&feed, |outcome| outcome.pinned),
            ];
            println!("| {units} | {gateways} | {} |", columns.join(" | "));
        }
    }
}

/// The least and the greatest value of all seeds, in percent.
fn range(outcomes: &[&Outcome], of: fn(&Outcome) -> f64) -> String {
    let all = || outcomes.iter().map(|outcome| 100.0 * of(outcome));
    let least = format!("{:.1}", all().fold(f64::INFINITY, f64::min));
    let most = format!("{:.1}", all().fold(f64::NEG_INFINITY, f64::max));
    match least == most {
        true => format!("{least} %"),
        false => format!("{least}–{most} %"),
    }
}

/// The delays of all seeds, p50 / p99.
fn delays(outcomes: &[&Outcome]) -> String {
    let delays = outcomes.iter().flat_map(|outcome| outcome.delays.iter());
    let mut delays: Vec<_> = delays.copied().collect();
    delays.sort_unstable();
    let ms = |percent| percentile(&delays, percent).as_secs_f64() * 1000.0;
    format!("{:.1} / {:.1}", ms(50), ms(99))
}
