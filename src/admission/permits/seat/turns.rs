//! Whose turn it is to start a request beyond its share, among gateways that are alone.
//!
//! All of them see the same free units, and only one can have them. They cannot talk to each other, but
//! each has seen the clock of Redis, and knows its place among the members: so they take turns.

use std::time::{Duration, Instant};

use super::part::Share;

/// How long the turn of a gateway lasts. Snapshots are requested four times a second, and it needs
/// three.
const TURN: Duration = Duration::from_secs(2);

/// At the begin of its turn it starts nothing: a request of the one before may still be on its way to
/// upstream.
const QUIET: Duration = Duration::from_millis(500);

/// The first turn begins only then: the others are left alone up to a second later, and first take
/// their shares.
const FIRST_AFTER: Duration = Duration::from_secs(2);

/// The turns of one gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    rank: u128,
    members: u128,
    /// Before, it is nobody's turn.
    from: Instant,
    /// A moment, and the time of the clock then.
    seen_at: Instant,
    clock: Duration,
}

impl Turns {
    /// The turns of the member with this share, which has seen the `clock` of Redis. Without one it
    /// takes turns at random times: others may have the same.
    pub(super) fn new(share: Share, clock: Option<(Instant, Duration)>, now: Instant) -> Self {
        let members = share.members.max(1) as u128;
        let unknown = || (now, TURN.mul_f64(members as f64 * fastrand::f64()));
        let (seen_at, clock) = clock.unwrap_or_else(unknown);
        Self {
            rank: share.rank as u128,
            members,
            from: now + FIRST_AFTER,
            seen_at,
            clock,
        }
    }

    /// Whether this gateway may start a request beyond its share now.
    pub(super) fn is_own(&self, now: Instant) -> bool {
        if self.members == 1 || now < self.from {
            return self.members == 1;
        }
        let clock = self.clock + now.saturating_duration_since(self.seen_at);
        let (turn, within) = (
            clock.as_millis() / TURN.as_millis(),
            clock.as_millis() % TURN.as_millis(),
        );
        turn % self.members == self.rank && within >= QUIET.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_have_seen_one_clock_take_turns() {
        let now = Instant::now();
        let clock = Duration::from_secs(1_700_000_000);
        // Each has seen it at another time.
        let turns: Vec<_> = (0..3_u32)
            .map(|rank| {
                let seen_at = now + Duration::from_millis(777) * rank;
                let clock = clock + (seen_at - now);
                Turns::new(Share::of(rank as usize, 3), Some((seen_at, clock)), now)
            })
            .collect();
        let mut last = None;
        let mut counts = [0; 3];
        for step in 0..1_200 {
            let now = now + Duration::from_secs(3) + Duration::from_millis(10) * step;
            let own: Vec<_> = (0..3).filter(|&rank| turns[rank].is_own(now)).collect();
            assert!(own.len() <= 1, "{own:?}");
            let Some(&rank) = own.first() else { continue };
            counts[rank] += 1;
            if let Some((before, at)) = last
                && before != rank
            {
                assert!(now - at >= QUIET, "nothing of the one before is on its way");
            }
            last = Some((rank, now));
        }
        assert_eq!(counts, [300; 3]);
    }

    #[test]
    fn without_a_clock_there_are_turns_too() {
        let now = Instant::now();
        let turns = Turns::new(Share::of(0, 4), None, now);
        let own = (0..800).map(|step| now + FIRST_AFTER + Duration::from_millis(10) * step);
        let own = own.filter(|&at| turns.is_own(at));
        assert_eq!(own.count(), 150);
        let single = Turns::new(Share::of(0, 1), None, now);
        assert!(single.is_own(now), "there are no others");
        assert!(!(0..200).any(|step| turns.is_own(now + Duration::from_millis(10) * step)));
    }
}
