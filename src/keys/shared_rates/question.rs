//! Questions to Redis whether a limit allows a call, and their answers that come too late for it.
//!
//! Redis decides a question even if nobody waits for the answer: the call has waited for too long, or
//! its caller has left. So each answer is read, and what Redis has counted is corrected.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::Instant,
};

use super::name::Name;
use crate::cluster::redis::{Advance, Problem};

/// The largest number of late answers that are waited for. What Redis counts by further ones comes
/// back with the time.
const LATE_MAX: usize = 1024;

type Answer = Pin<Box<dyn Future<Output = Result<Advance, Problem>> + Send>>;

/// A question, while its call waits for the answer. Dropping it without an answer makes that answer
/// a late one.
pub(super) struct Question<'a> {
    late: &'a LateAnswers,
    asked: Option<Asked>,
}

/// What was asked.
struct Asked {
    name: Name,
    /// What the call takes, in nanoseconds.
    part_ns: u64,
    at: Instant,
    /// Whether the call was allowed without the answer.
    is_allowed: bool,
    answer: Answer,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        late: &'a LateAnswers,
        name: Name,
        part_ns: u64,
        answer: impl Future<Output = Result<Advance, Problem>> + Send + 'static,
    ) -> Self {
        let asked = Asked {
            name,
            part_ns,
            at: Instant::now(),
            is_allowed: false,
            answer: Box::pin(answer),
        };
        Self {
            late,
            asked: Some(asked),
        }
    }

    /// Waits for the answer. There is only one.
    pub(super) async fn answer(&mut self) -> Result<Advance, Problem> {
        match &mut self.asked {
            Some(asked) => {
                let answer = asked.answer.as_mut().await;
                self.asked = None;
                answer
            }
            None => pending().await,
        }
    }

    /// Waits no longer. The gateway has decided alone whether it allows the call.
    pub(super) fn decided(mut self, is_allowed: bool) {
        if let Some(asked) = &mut self.asked {
            asked.is_allowed = is_allowed;
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            // If there are too many, what Redis counts comes back with the time.
            let _ = self.late.sender.try_send(asked);
        }
    }
}

impl Asked {
    /// How the time of the limit must be corrected, in nanoseconds, once Redis has answered.
    async fn correction(self) -> (Name, i64) {
        let part_ns = i64::try_from(self.part_ns).unwrap_or(i64::MAX);
        let by_ns = match (self.answer.await, self.is_allowed) {
            (Ok(Advance { fits: true, .. }), false) => {
                // A part of it has come back with the time.
                let passed = i64::try_from(self.at.elapsed().as_nanos()).unwrap_or(i64::MAX);
                -part_ns.saturating_sub(passed).max(0)
            }
            (Ok(Advance { fits: false, .. }), true) => part_ns,
            (Err(problem), true) if !problem.may_be_done() => part_ns,
            // It is counted as it should be, or that is not known.
            (Ok(_) | Err(_), _) => 0,
        };
        (self.name, by_ns)
    }
}

/// The answers that no call waits for any more.
pub(super) struct LateAnswers {
    sender: mpsc::Sender<Asked>,
    receiver: AsyncMutex<mpsc::Receiver<Asked>>,
}

impl LateAnswers {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(LATE_MAX);
        Self {
            sender,
            receiver: AsyncMutex::new(receiver),
        }
    }

    /// Reads late answers, and passes on what must be corrected. Never completes.
    pub(super) async fn read(&self, correct: impl Fn(Name, i64)) {
        let mut receiver = self.receiver.lock().await;
        // All at once: one of them may open the connection that the others wait for.
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(asked) = receiver.recv() => {
                    if waiting.len() < LATE_MAX {
                        waiting.push(asked.correction());
                    }
                }
                Some((name, by_ns)) = waiting.next() => correct(name, by_ns),
                // Not while there is a sender.
                else => return,
            }
        }
    }
}

impl fmt::Debug for LateAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateAnswers")
    }
}
