//! The task that sends spans to the collector, in batches. It runs in the runtime that accepts
//! connections, not on the workers.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    collector::{Collector, Failure},
    otlp::{self, Span},
    queue::Lost,
};
use crate::throttle::Throttle;

/// The wait before a batch is sent again, if the collector asks for none. It doubles, up to
/// [`RETRY_WAIT_MAX`].
const RETRY_WAIT: Duration = Duration::from_millis(500);

const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);

/// The longest wait at the end for the collector to take the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The batches, and the queue before them.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// The largest number of spans that wait.
    pub queue_max: usize,
    /// The largest number of spans that are sent together.
    pub batch_max: usize,
    /// How long the first span of a batch waits for others.
    pub delay: Duration,
    /// The longest time for a batch, with all its attempts.
    pub timeout: Duration,
}

/// The running task. When this is dropped, the task sends what waits, and ends.
#[derive(Debug)]
pub(super) struct Exporter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts the task, within a runtime.
    pub(super) fn start(
        collector: Collector,
        resource: Vec<(String, String)>,
        batches: Batches,
        spans: mpsc::Receiver<Span>,
        lost: Lost,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let worker = Worker {
            collector,
            resource,
            batches,
            spans,
            stopped: Some(stopped),
            losses: Losses::new(lost),
        };
        Self {
            stop,
            task: tokio::spawn(worker.run()),
        }
    }

    /// Sends what waits, and ends. It takes a few seconds at most.
    pub(super) async fn end(self) {
        let Self { stop, mut task } = self;
        drop(stop);
        if timeout(FLUSH_TIMEOUT, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("the last spans were lost: the collector did not take them in time");
        }
    }
}

struct Worker {
    collector: Collector,
    resource: Vec<(String, String)>,
    batches: Batches,
    spans: mpsc::Receiver<Span>,
    /// Completes when the task must end. `None` afterwards.
    stopped: Option<oneshot::Receiver<()>>,
    losses: Losses,
}

impl Worker {
    async fn run(mut self) {
        let Batches {
            batch_max, delay, ..
        } = self.batches;
        loop {
            let mut batch = Vec::new();
            if self.receive(&mut batch, batch_max).await == 0 {
                return;
            }
            let until = Instant::now() + delay;
            while batch.len() < batch_max {
                let room = batch_max - batch.len();
                let received = timeout_at(until, self.receive(&mut batch, room)).await;
                if !received.is_ok_and(|received| received > 0) {
                    break;
                }
            }
            self.export(batch).await;
        }
    }

    /// Waits for spans. 0 when there will be no more.
    async fn receive(&mut self, batch: &mut Vec<Span>, max: usize) -> usize {
        if let Some(stopped) = &mut self.stopped {
            tokio::select! {
                received = self.spans.recv_many(batch, max) => return received,
                _ = stopped => {}
            }
            self.stopped = None;
            self.spans.close();
        }
        self.spans.recv_many(batch, max).await
    }

    async fn export(&mut self, batch: Vec<Span>) {
        let spans = batch.len();
        let request = otlp::request(&self.resource, batch);
        let until = Instant::now() + self.batches.timeout;
        let mut wait = RETRY_WAIT;
        let mut last = None;
        loop {
            match timeout_at(until, self.collector.send(&request)).await {
                Ok(Ok(refused)) => {
                    let refused = usize::try_from(refused).unwrap_or(spans).min(spans);
                    return self.losses.note_success(refused);
                }
                Ok(Err(Failure { problem, retry })) => {
                    let next = retry.map(|asked| Instant::now() + wait.max(asked));
                    let Some(next) = next.filter(|next| *next < until) else {
                        return self.losses.note_failure(spans, &problem);
                    };
                    sleep_until(next).await;
                    wait = RETRY_WAIT_MAX.min(2 * wait);
                    last = Some(problem);
                }
                Err(_) => {
                    let problem = last.as_deref().unwrap_or("no success in time");
                    return self.losses.note_failure(spans, problem);
                }
            }
        }
    }
}

/// Tells the log of lost spans, once a minute at most.
struct Losses {
    lost: Lost,
    /// How many the log knows of.
    told: u64,
    throttle: Throttle,
    is_down: bool,
}

impl Losses {
    fn new(lost: Lost) -> Self {
        Self {
            lost,
            told: 0,
            throttle: Throttle::new(),
            is_down: false,
        }
    }

    /// The collector took a batch, but for `refused` spans.
    fn note_success(&mut self, refused: usize) {
        self.lost.add(refused);
        if std::mem::take(&mut self.is_down) {
            tracing::info!("the trace collector takes spans again");
        }
        // The queue may have been full.
        self.warn(match refused {
            0 => "the queue for spans was full",
            _ => "the collector refused some of them",
        });
    }

    fn note_failure(&mut self, spans: usize, problem: &str) {
        self.lost.add(spans);
        self.is_down = true;
        self.warn(problem);
    }

    fn warn(&mut self, problem: &str) {
        let lost = self.lost.count() - self.told;
        if lost == 0 || !self.throttle.lets_through() {
            return;
        }
        tracing::warn!(
            spans = lost,
            problem,
            "spans of traces were lost: calls are not affected"
        );
        self.told += lost;
    }
}
