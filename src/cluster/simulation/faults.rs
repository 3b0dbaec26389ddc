//! What can go wrong.

use std::time::Duration;

use super::world::{Happens, World};

/// What may go wrong, as probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Of each message: it is lost, or it comes twice.
    pub(super) loss: f64,
    pub(super) twice: f64,
    /// It comes seconds late, and with it all that follows.
    pub(super) late: f64,
    /// In each second: a gateway dies and is started again, Redis starts again empty, a gateway
    /// cannot reach Redis for some seconds, a gateway stands still for some seconds.
    pub(super) crash: f64,
    pub(super) empty: f64,
    pub(super) cut: f64,
    pub(super) pause: f64,
}

impl World {
    pub(super) fn fault(&mut self) {
        let index = self.random.usize(..self.nodes.len());
        let chance = self.random.f64();
        let Faults {
            crash,
            empty,
            cut,
            pause,
            ..
        } = self.faults;
        let id = self.nodes[index].id;
        let seconds = Duration::from_millis(self.random.u64(200..8_000));
        if chance < crash {
            self.log(format!("{id:?} dies"));
            let node = self.node();
            self.nodes[index] = node;
        } else if chance < crash + empty {
            self.log("Redis is empty".to_owned());
            self.generation += 1;
            self.streams.clear();
            self.lease = None;
            self.members = None;
        } else if chance < crash + empty + cut {
            self.log(format!("{id:?} is cut for {seconds:?}"));
            self.nodes[index].is_cut = true;
            self.at(seconds, Happens::Reach(index));
        } else if chance < crash + empty + cut + pause {
            self.log(format!("{id:?} stands still for {seconds:?}"));
            self.nodes[index].paused_until = Some(self.now + seconds);
        }
    }
}
