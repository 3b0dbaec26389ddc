//! Those who wait of one key in one class, first come first.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::admission::request::Ticket;

/// Waiters are counted in blocks of so many consecutive tickets, so that nobody has to count all of
/// those ahead.
const BLOCK: u64 = 128;

/// One queue, in lanes by cost: who is first among those that fit is found by looking at the heads
/// of a few lanes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<u32, BTreeSet<Ticket>>,
    blocks: BTreeMap<u64, usize>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes its place by its ticket: one that comes back is again before all that came after it.
    pub(super) fn push(&mut self, ticket: Ticket, cost: u32) {
        if self.lanes.entry(cost).or_default().insert(ticket) {
            self.len += 1;
            *self.blocks.entry(ticket.0 / BLOCK).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket, cost: u32) {
        let Some(lane) = self.lanes.get_mut(&cost) else {
            return;
        };
        if !lane.remove(&ticket) {
            return;
        }
        if lane.is_empty() {
            self.lanes.remove(&cost);
        }
        self.len -= 1;
        if let Some(count) = self.blocks.get_mut(&(ticket.0 / BLOCK)) {
            *count -= 1;
            if *count == 0 {
                self.blocks.remove(&(ticket.0 / BLOCK));
            }
        }
    }

    /// The costs somebody here waits with.
    pub(super) fn costs(&self) -> impl Iterator<Item = u32> {
        self.lanes.keys().copied()
    }

    pub(super) fn has(&self, cost: u32) -> bool {
        self.lanes.contains_key(&cost)
    }

    /// Who came first of those that cost at least and at most so much, and the cost.
    pub(super) fn first_within(&self, costs: RangeInclusive<u32>) -> Option<(Ticket, u32)> {
        self.lanes
            .range(costs)
            .filter_map(|(&cost, lane)| Some((*lane.first()?, cost)))
            .min()
    }

    /// How many came before this one. It takes as many steps as there are blocks before it, and a
    /// block's tickets.
    pub(super) fn ahead(&self, ticket: Ticket) -> usize {
        let block = ticket.0 / BLOCK;
        let before: usize = self.blocks.range(..block).map(|(_, count)| count).sum();
        let beside = Ticket(block * BLOCK)..ticket;
        before
            + self
                .lanes
                .values()
                .map(|lane| lane.range(beside.clone()).count())
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_is_the_first_that_came() {
        let mut queue = Queue::default();
        for (ticket, cost) in [(1, 4), (2, 2), (3, 1), (4, 2)] {
            queue.push(Ticket(ticket), cost);
        }
        assert_eq!(queue.first_within(0..=4), Some((Ticket(1), 4)));
        assert_eq!(queue.first_within(0..=3), Some((Ticket(2), 2)));
        assert_eq!(queue.first_within(0..=1), Some((Ticket(3), 1)));
        assert_eq!(queue.first_within(0..=0), None);
        queue.remove(Ticket(2), 2);
        assert_eq!(
            queue.first_within(0..=3),
            Some((Ticket(3), 1)),
            "who left is gone, and the others keep their order"
        );
        queue.push(Ticket(2), 2);
        assert_eq!(
            queue.first_within(0..=3),
            Some((Ticket(2), 2)),
            "who comes back has its old place"
        );
    }

    #[test]
    fn those_ahead_are_counted_across_blocks_and_lanes() {
        let mut queue = Queue::default();
        for ticket in 0..1000 {
            queue.push(Ticket(ticket), [1, 2, 4][ticket as usize % 3]);
        }
        for left in (0..1000).step_by(5) {
            queue.remove(Ticket(left), [1, 2, 4][left as usize % 3]);
            queue.remove(Ticket(left), [1, 2, 4][left as usize % 3]);
        }
        assert_eq!(queue.len(), 800);
        for ticket in [1, 127, 128, 129, 999] {
            let ahead = (0..ticket).filter(|other| other % 5 != 0).count();
            assert_eq!(queue.ahead(Ticket(ticket)), ahead, "before {ticket}");
        }
    }
}
