//! The threads that serve connections, each with a runtime of its own. All that a call does happens
//! on the worker of its connection: its connection to upstream is of the same worker, because each
//! worker has a pool of its own ([`PerWorker`]). So no core wakes another one for a chunk.
//!
//! What serves several callers is shared by all workers: the catalogue, the queue for units, the
//! feed. Its tasks run in the runtime that first needs them.

use std::{
    cell::Cell,
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::runtime::{Builder, Handle, Runtime};

/// The largest number of workers.
pub const WORKERS_MAX: usize = 128;

thread_local! {
    /// The number of the worker that this thread belongs to, from 1. 0 for every other thread.
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// The workers of a process. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
    connections: Arc<AtomicUsize>,
}

/// Counts a connection of a worker until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<AtomicUsize>);

impl Workers {
    /// No workers: connections are served in the runtime that accepts them.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts `number` workers, [`WORKERS_MAX`] at most.
    ///
    /// # Errors
    /// The system has no more threads or file descriptors.
    pub fn start(number: usize) -> io::Result<Self> {
        let workers = (1..=number.min(WORKERS_MAX)).map(Worker::start);
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
        })
    }

    /// The runtime of the worker with the fewest connections, and the guard of one connection more.
    /// `None` if there are no workers.
    pub fn add_connection(&self) -> Option<(&Handle, ConnectionGuard)> {
        let worker = self
            .workers
            .iter()
            .min_by_key(|worker| worker.connections.load(Ordering::Relaxed))?;
        let runtime = worker.runtime.as_ref()?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Some((
            runtime.handle(),
            ConnectionGuard(Arc::clone(&worker.connections)),
        ))
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        // Not a current-thread runtime: its thread could not leave its other tasks to another
        // thread while it decodes a large body (`offload::run_in_place`).
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("worker-{number}"))
            .on_thread_start(move || WORKER.set(number))
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            connections: Arc::default(),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without a wait, which is not allowed where tasks run.
        self.runtime
            .take()
            .into_iter()
            .for_each(Runtime::shutdown_background);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A value for each worker, and one for all other threads. Each is made when it is first used.
pub struct PerWorker<T>(Box<[OnceLock<Box<T>>]>);

impl<T> PerWorker<T> {
    /// No values yet.
    pub fn new() -> Self {
        Self((0..=WORKERS_MAX).map(|_| OnceLock::new()).collect())
    }

    /// The value of the worker that this thread belongs to. `make` makes it at its first use.
    pub fn get_or_init(&self, make: impl Fn() -> T) -> Option<&T> {
        let slot = self.0.get(WORKER.get())?;
        Some(slot.get_or_init(|| Box::new(make())))
    }
}

impl<T> Default for PerWorker<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PerWorker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerWorker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_with_the_fewest_and_each_has_its_own_value() {
        let workers = Workers::start(3).unwrap();
        let values = Arc::new(PerWorker::<usize>::new());
        let made = Arc::new(AtomicUsize::new(0));
        let value = |handle: &Handle| {
            let (values, made) = (Arc::clone(&values), Arc::clone(&made));
            let value = move || {
                *values
                    .get_or_init(|| made.fetch_add(1, Ordering::Relaxed))
                    .unwrap()
            };
            handle.spawn(async move { value() })
        };
        let mut guards = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..6 {
            let (handle, guard) = workers.add_connection().unwrap();
            seen.push(value(handle).await.unwrap());
            guards.push(guard);
        }
        assert_eq!(seen, [0, 1, 2, 0, 1, 2], "in turn, while all stay");
        guards.swap_remove(4);
        let (handle, _guard) = workers.add_connection().unwrap();
        assert_eq!(value(handle).await.unwrap(), 1, "where one has ended");
        assert_eq!(value(&Handle::current()).await.unwrap(), 3, "no worker's");
        assert!(Workers::none().add_connection().is_none());
    }
}
