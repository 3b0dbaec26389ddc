//! The task that writes records: into the database, or into files while the database is away.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

use super::{
    block::Block,
    queue::{BATCH_RECORDS_MAX, Ledger, Queue},
    retention::Retention,
    spill::{Batch, Spill, SpillError},
    write::write,
};
use crate::{
    store::{Store, StoreError, Written},
    throttle::Throttle,
};

/// The longest time for which a record waits for others, to be written together with them.
const BATCH_TIME: Duration = Duration::from_millis(100);

/// The time between two attempts to write, while the database is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The time between two looks for old records.
const CLEAN_EVERY: Duration = Duration::from_secs(10 * 60);

/// How the ledger keeps records.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where records are kept while the database is away. `None`: only in memory.
    pub spill_directory: Option<PathBuf>,
    /// The largest number of bytes of these records.
    pub spill_bytes_max: u64,
    /// How long records of single calls are kept.
    pub retention: Duration,
}

/// The task that writes the records of a [`Ledger`].
#[derive(Debug)]
pub struct Writer {
    ledger: Ledger,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts to write into `store`. Records that an earlier process has left in files follow.
    pub async fn start(store: Store, settings: Settings) -> Self {
        let queue = Queue::new();
        let ledger = Ledger::of(Arc::clone(&queue));
        let (stop, stopped) = oneshot::channel();
        let mut task = Task {
            retention: Retention::new(store.clone(), settings.retention),
            store,
            queue,
            spill: open_spill(settings).await,
            held: Arc::default(),
            retry_at: None,
            warnings: Throttle::new(),
            is_told: false,
            clean_at: Instant::now(),
            lost: 0,
        };
        if let Some(spill) = &task.spill {
            task.tell_bytes(spill);
        }
        // It serves all callers, for as long as the gateway runs.
        let task = tokio::spawn(async move {
            if task.run(stopped).await {
                task.finish().await;
            }
        });
        Self { ledger, stop, task }
    }

    /// Takes the records of calls.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Writes all records that there are, and ends.
    pub async fn end(self) {
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the last records of calls were not written");
        }
    }
}

/// The files for records, if there may be some. Without them the gateway works as well.
async fn open_spill(settings: Settings) -> Option<Spill> {
    let directory = settings.spill_directory?;
    let opened = spawn_blocking(move || {
        let spill = Spill::open(directory.clone(), settings.spill_bytes_max);
        spill.map_err(|error| (directory, error))
    });
    match opened.await.ok()? {
        Ok(spill) => Some(spill),
        Err((directory, error)) => {
            tracing::warn!(
                directory = %directory.display(),
                %error,
                "while the database is away, records of calls are kept only in memory"
            );
            None
        }
    }
}

struct Task {
    store: Store,
    queue: Arc<Queue>,
    retention: Retention,
    /// `None` if there are no files.
    spill: Option<Spill>,
    /// The records that are written next. A record leaves memory when it is in the database or in a
    /// file.
    held: Arc<[Block]>,
    /// When to try again, while the database is away.
    retry_at: Option<Instant>,
    /// A disk that is nearly full makes short outages, one after the other.
    warnings: Throttle,
    /// Whether the log has told of the present outage.
    is_told: bool,
    clean_at: Instant,
    /// How many records were lost since there was no room.
    lost: u64,
}

impl Task {
    /// Writes until it is told to stop. Returns false if nobody can tell it any more.
    async fn run(&mut self, mut stopped: oneshot::Receiver<()>) -> bool {
        loop {
            tokio::select! {
                biased;
                told = &mut stopped => return told.is_ok(),
                () = self.wait() => {}
            }
            // Less than a batch waits for more: each transaction costs as much as many records.
            self.flush(BATCH_RECORDS_MAX - 1).await;
            self.replay().await;
            self.report_lost();
            if self.retry_at.is_none() && Instant::now() >= self.clean_at {
                let is_done = match self.retention.clean().await {
                    Ok(is_done) => is_done,
                    Err(error) => {
                        tracing::debug!(%error, "old records of calls were not removed");
                        true
                    }
                };
                // Between two portions, new records are written.
                self.clean_at = Instant::now();
                if is_done {
                    self.clean_at += CLEAN_EVERY;
                }
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&self) {
        let next = match self.retry_at {
            Some(retry_at) => retry_at,
            None if self.has_old_records() => return,
            None => self.clean_at,
        };
        // A batch that could not even be kept in a file waits for the next attempt.
        if !self.held.is_empty() {
            return sleep_until(next).await;
        }
        if self.queue.length() == 0 {
            tokio::select! {
                () = sleep_until(next) => return,
                () = self.queue.wake.notified() => {}
            }
        }
        let until = Instant::now() + BATCH_TIME;
        // The queue wakes up the writer for its first record as well.
        while self.queue.length() < BATCH_RECORDS_MAX {
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.queue.wake.notified() => {}
            }
        }
    }

    fn has_old_records(&self) -> bool {
        self.spill.as_ref().is_some_and(Spill::has_blocks)
    }

    fn is_away(&self) -> bool {
        self.retry_at.is_some_and(|at| Instant::now() < at)
    }

    /// Writes the records of the queue, into the database or into a file, until at most `rest` are
    /// left.
    async fn flush(&mut self, rest: usize) {
        loop {
            if self.held.is_empty() {
                self.hold(Block::divide(self.queue.take()).into());
            }
            if self.held.is_empty() {
                return;
            }
            let is_kept = self.write_held().await || self.spill_held().await;
            if !is_kept {
                return;
            }
            self.hold(Arc::default());
            if self.queue.length() <= rest {
                return;
            }
        }
    }

    fn hold(&mut self, blocks: Arc<[Block]>) {
        let records = records_of(&blocks);
        self.queue.held.store(records, Ordering::Relaxed);
        self.held = blocks;
    }

    async fn write_held(&mut self) -> bool {
        if self.is_away() {
            return false;
        }
        let result = write(&self.store, &self.held).await;
        self.note(result.map(|_| ()))
    }

    async fn spill_held(&mut self) -> bool {
        let blocks = Arc::clone(&self.held);
        let appended = self.with_spill(move |spill| spill.append(&blocks)).await;
        let Some(result) = appended else {
            return false;
        };
        match result {
            Ok(()) => true,
            Err(SpillError::Full) => false,
            Err(SpillError::Io(error)) => {
                tracing::debug!(%error, "records of calls cannot be written into a file");
                false
            }
        }
    }

    /// Writes the records of the files, the oldest first.
    async fn replay(&mut self) {
        let mut count = 0;
        while !self.is_away() && self.has_old_records() {
            let Some(batch) = self.with_spill(Spill::next).await else {
                return;
            };
            let Ok(Some(batch)) = batch else {
                tracing::error!("a file with records of calls cannot be read: it stays as it is");
                self.with_spill(Spill::skip_file).await;
                continue;
            };
            if batch.damaged_bytes > 0 {
                tracing::error!(
                    bytes = batch.damaged_bytes,
                    "a file with records of calls is damaged: what cannot be read is left out"
                );
            }
            let result = write(&self.store, &batch.blocks).await;
            if !self.note(result.map(|_| ())) {
                return;
            }
            count += records_of(&batch.blocks);
            self.remove(batch).await;
            // New records come at the same time.
            if self.queue.length() >= BATCH_RECORDS_MAX {
                self.flush(BATCH_RECORDS_MAX - 1).await;
            }
        }
        if count > 0 {
            tracing::info!(
                records = count,
                "records of calls were taken over from files"
            );
        }
    }

    async fn remove(&mut self, batch: Batch) {
        let removed = self.with_spill(move |spill| spill.remove(&batch));
        if let Some(Err(error)) = removed.await {
            tracing::warn!(%error, "a file with records of calls was not removed");
        }
    }

    /// Works with the files, on a thread that may wait for the disk. `None` if there are no files.
    async fn with_spill<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spill) -> T + Send + 'static,
    ) -> Option<T> {
        let mut spill = self.spill.take()?;
        let done = spawn_blocking(move || {
            let result = work(&mut spill);
            (spill, result)
        });
        let (spill, result) = done.await.ok()?;
        self.tell_bytes(&spill);
        self.spill = Some(spill);
        Some(result)
    }

    fn tell_bytes(&self, spill: &Spill) {
        let bytes = spill.bytes();
        self.queue.spill_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes whether the database has taken records. Logs failures, at most one a minute, and their
    /// end.
    fn note(&mut self, result: Result<(), StoreError>) -> bool {
        self.store.note_written(Written::Records, result.is_ok());
        let Err(error) = result else {
            if std::mem::take(&mut self.is_told) {
                tracing::info!("the database takes records of calls again");
            }
            self.retry_at = None;
            return true;
        };
        if self.warnings.lets_through() {
            self.is_told = true;
            let directory = self.spill.as_ref().map(|spill| spill.directory().display());
            tracing::warn!(
                %error,
                records_in_memory = self.queue.waiting(),
                bytes_in_files = self.queue.spill_bytes.load(Ordering::Relaxed),
                directory = directory.map(tracing::field::display),
                "the database takes no records of calls: they are kept until it does"
            );
        } else {
            tracing::debug!(%error, "the database still takes no records of calls");
        }
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        false
    }

    /// Logs the first record that is lost, and the number of all when there is room again.
    fn report_lost(&mut self) {
        let lost = self.queue.take_lost();
        if lost > 0 && self.lost == 0 {
            tracing::error!(
                "there is no room for records of calls until the database answers: calls of keys \
                 with budgets are refused, the records of others are lost"
            );
        }
        self.lost += lost;
        if lost == 0 && self.lost > 0 && self.retry_at.is_none() {
            let records = std::mem::take(&mut self.lost);
            tracing::error!(records, "records of calls were lost");
        }
    }

    /// Writes what there is, at the end.
    async fn finish(&mut self) {
        // One more attempt, whenever the last one was.
        self.retry_at = self.retry_at.map(|_| Instant::now());
        self.flush(0).await;
        self.lost += self.queue.take_lost();
        let left = records_of(&self.held) + self.queue.length();
        let records = self.lost + u64::try_from(left).unwrap_or_default();
        if records > 0 {
            tracing::error!(records, "records of calls were lost");
        }
    }
}

fn records_of(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.records().len()).sum()
}
