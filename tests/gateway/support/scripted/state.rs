//! The state that the upstream and its connections share: the script, and the events so far.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use serde_json::Value;
use tokio::sync::Notify;

use super::script::{Reply, Then};

/// One received request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(header, value)| header.eq_ignore_ascii_case(name).then_some(value))
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) reply: Option<Reply>,
    pub(super) first: VecDeque<Reply>,
    /// A model, and the reply to every request for it, in place of the script.
    pub(super) broken: Option<(String, Reply)>,
    /// The reply to requests for the catalogue, if they are not part of the script. The account's
    /// units are then reported as free.
    pub(super) catalogue: Option<Value>,
    /// The action on a connection before anything is read from it.
    pub(super) greeting: Option<Then>,
    /// The silence before each reply.
    pub(super) pause: Option<Duration>,
    pub(super) seen: Vec<Seen>,
    /// The number of events that were written.
    pub(super) written: usize,
    pub(super) open: usize,
    pub(super) connections: usize,
    /// The number of connections at the end of their script, which wait for the other side to
    /// close.
    pub(super) stuck: usize,
    /// Connections without a request are closed.
    pub(super) is_resting: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Notify,
}

impl Shared {
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }

    pub(super) async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.state.lock().unwrap()) {
                return;
            }
            changed.await;
        }
    }
}
