//! The guarantees of the protocol, in thousands of simulated minutes.

use std::time::Duration;

use self::{faults::Faults, world::World};

mod faults;
mod network;
mod queue;
mod world;

/// Each number of gateways, with each number of units and each load, once.
const SEEDS: u64 = 4 * 5 * 3;

const NONE: Faults = Faults {
    loss: 0.0,
    twice: 0.0,
    late: 0.0,
    crash: 0.0,
    empty: 0.0,
    cut: 0.0,
    pause: 0.0,
};

/// What breaks a guarantee in the run of this seed.
fn broken(seed: u64, faults: Faults, may_exceed: bool) -> Result<(), String> {
    let nodes = 1 + seed % 4;
    let capacity = 1 << (seed / 4 % 5);
    let load = [0.2, 1.0, 4.0][(seed / 20 % 3) as usize];
    let mut world = World::new(seed, nodes as usize, capacity, load, faults);
    // A minute with faults, and then time for the longest queue.
    let minute = Duration::from_secs(60);
    for minutes in 1..=60 {
        world.run(minutes * minute);
        if minutes > 1 && world.unanswered() == 0 && world.usage() == 0 && world.is_at_rest() {
            break;
        }
    }
    let fail = |what: &str| {
        let from = world.trace.len().saturating_sub(30);
        Err(format!(
            "seed {seed}: {what}\n{}",
            world.trace[from..].join("\n")
        ))
    };
    if world.over > 0 && !may_exceed {
        return fail("more units were used than there are");
    }
    match (world.unanswered(), world.usage()) {
        (0, 0) if world.is_at_rest() => Ok(()),
        (0, 0) => fail("the leader has something left"),
        (0, _) => fail("a request runs for ever"),
        (waiting, _) => fail(&format!("{waiting} requests wait for ever")),
    }
}

fn holds(faults: Faults) {
    for seed in 0..SEEDS {
        broken(seed, faults, false).unwrap();
    }
}

#[test]
fn all_units_are_used_and_none_twice() {
    holds(NONE);
}

#[test]
fn lost_and_repeated_messages_lose_no_request_and_no_unit() {
    let (loss, twice) = (0.02, 0.02);
    holds(Faults {
        loss,
        twice,
        ..NONE
    });
}

#[test]
fn a_message_that_comes_late_gives_no_unit_twice() {
    let (loss, twice, late, crash) = (0.01, 0.01, 0.01, 0.02);
    holds(Faults {
        loss,
        twice,
        late,
        crash,
        ..NONE
    });
}

#[test]
fn the_death_of_a_leader_or_a_member_gives_no_unit_twice() {
    let (loss, twice, crash) = (0.01, 0.01, 0.1);
    holds(Faults {
        loss,
        twice,
        crash,
        ..NONE
    });
}

#[test]
fn a_redis_that_forgets_everything_gives_no_unit_twice() {
    let (loss, twice, crash, empty) = (0.01, 0.01, 0.05, 0.05);
    holds(Faults {
        loss,
        twice,
        crash,
        empty,
        ..NONE
    });
}

#[test]
fn gateways_that_stand_still_or_lose_redis_leave_nobody_waiting() {
    let faults = Faults {
        loss: 0.01,
        twice: 0.01,
        late: 0.001,
        crash: 0.03,
        empty: 0.02,
        cut: 0.05,
        pause: 0.05,
    };
    for seed in 0..SEEDS {
        broken(seed, faults, true).unwrap();
    }
}
