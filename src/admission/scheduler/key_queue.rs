//! The waiting requests of one key in one class, first come, first served.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::admission::request::Ticket;

/// Waiting requests are counted in blocks of this many consecutive tickets, so that
/// [`KeyQueue::requests_ahead`] does not count each of them.
const BLOCK: u64 = 128;

/// A queue with one lane per cost. The first request that fits is the smallest ticket at the heads
/// of a few lanes.
#[derive(Debug, Default)]
pub(super) struct KeyQueue {
    lanes: BTreeMap<u32, BTreeSet<Ticket>>,
    blocks: BTreeMap<u64, usize>,
    len: usize,
}

impl KeyQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Inserts a request at the position of its ticket. A request that returns to the queue is
    /// again before all requests that came after it.
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

    /// The costs of the waiting requests, each cost once.
    pub(super) fn costs(&self) -> impl Iterator<Item = u32> {
        self.lanes.keys().copied()
    }

    /// Whether a request of this `cost` waits.
    pub(super) fn has_cost(&self, cost: u32) -> bool {
        self.lanes.contains_key(&cost)
    }

    /// The first request with a cost in `costs`, and its cost.
    pub(super) fn first_within(&self, costs: RangeInclusive<u32>) -> Option<(Ticket, u32)> {
        self.lanes
            .range(costs)
            .filter_map(|(&cost, lane)| Some((*lane.first()?, cost)))
            .min()
    }

    /// How many requests came before `ticket`. It takes one step for each block before the ticket,
    /// and one for each ticket of the last block.
    pub(super) fn requests_ahead(&self, ticket: Ticket) -> usize {
        let block = ticket.0 / BLOCK;
        let in_blocks_before: usize = self.blocks.range(..block).map(|(_, count)| count).sum();
        let in_last_block = Ticket(block * BLOCK)..ticket;
        in_blocks_before
            + self
                .lanes
                .values()
                .map(|lane| lane.range(in_last_block.clone()).count())
                .sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_that_fits_is_the_first_that_came() {
        let mut queue = KeyQueue::default();
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
            "the other requests keep their order"
        );
        queue.push(Ticket(2), 2);
        assert_eq!(
            queue.first_within(0..=3),
            Some((Ticket(2), 2)),
            "a request that returns has its old position"
        );
    }

    #[test]
    fn requests_ahead_are_counted_across_blocks_and_lanes() {
        let mut queue = KeyQueue::default();
        for ticket in 0..1000 {
            queue.push(Ticket(ticket), [1, 2, 4][ticket as usize % 3]);
        }
        for removed in (0..1000).step_by(5) {
            queue.remove(Ticket(removed), [1, 2, 4][removed as usize % 3]);
            queue.remove(Ticket(removed), [1, 2, 4][removed as usize % 3]);
        }
        assert_eq!(queue.len(), 800);
        for ticket in [1, 127, 128, 129, 999] {
            let ahead = (0..ticket).filter(|other| other % 5 != 0).count();
            assert_eq!(
                queue.requests_ahead(Ticket(ticket)),
                ahead,
                "before {ticket}"
            );
        }
    }
}
