//! Writes the lines of the log to standard error, in a thread of its own. A call waits neither for
//! a slow disk nor for a pipe whose reader sleeps: lines that find no room are left out and counted.
//!
//! Threads that log at the same time have buffers of their own ([`shard`](super::shard)), so that
//! they seldom wait for each other. The lines of one thread stay in their order; those of several
//! may be out of the order of their times, by less than a pause.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::shard::PerShard;

/// The largest number of bytes that wait to be written in each buffer.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// The pause in which lines collect, so that many are one write.
const PAUSE: Duration = Duration::from_millis(10);

/// From this number of waiting bytes in a buffer on, there is no pause.
const PAUSE_BYTES_MAX: usize = 256 * 1024;

/// Takes lines. Cheap to clone; all clones have one thread.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    buffers: PerShard<Mutex<Buffer>>,
    /// Whether the thread will look at the buffers again without being woken.
    is_awake: AtomicBool,
    control: Mutex<Control>,
    /// Wakes the thread.
    wake: Condvar,
    /// Wakes those who wait in [`Writer::flush`].
    is_written: Condvar,
    lost: AtomicU64,
    /// There is no thread, so `push` itself writes.
    is_direct: bool,
}

/// The lines of some threads.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    /// How many more lines found no room after these.
    lost: u64,
}

#[derive(Debug, Default)]
struct Control {
    is_urgent: bool,
    /// How often the thread has begun to take all lines, and how often it has written them.
    begun: u64,
    done: u64,
}

impl Writer {
    /// Starts the thread, which writes to `out`. `loss` makes the line that tells how many lines
    /// are missing before it.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        loss: impl Fn(u64) -> String + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let started = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || of_thread.run(out, loss));
        match started {
            Ok(_) => Self(shared),
            Err(_) => Self(Arc::new(Shared {
                is_direct: true,
                ..Shared::default()
            })),
        }
    }

    /// Adds a line.
    pub(super) fn push(&self, line: &str) {
        let shared = &*self.0;
        if shared.is_direct {
            if io::stderr().write_all(line.as_bytes()).is_err() {
                shared.lost.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        let mut buffer = locked(shared.buffers.own());
        if buffer.bytes.len().saturating_add(line.len()) > WAITING_BYTES_MAX {
            buffer.lost += 1;
            drop(buffer);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let length_before = buffer.bytes.len();
        buffer.bytes.extend_from_slice(line.as_bytes());
        buffer.lines += 1;
        let is_much = length_before <= PAUSE_BYTES_MAX && buffer.bytes.len() > PAUSE_BYTES_MAX;
        drop(buffer);
        // The thread resets this before it looks at the buffers, so it sees the line or is woken.
        if is_much || !shared.is_awake.load(Ordering::SeqCst) {
            shared.wake(is_much);
        }
    }

    /// Waits until all lines are written, for `timeout` at most.
    pub(super) fn flush(&self, timeout: Duration) {
        if self.0.is_direct {
            return;
        }
        let end = Instant::now() + timeout;
        let wanted = self.0.wake(true) + 1;
        let mut control = locked(&self.0.control);
        while control.done < wanted {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            control = self
                .0
                .is_written
                .wait_timeout(control, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// How many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Wakes the thread. Returns how often it had begun to take all lines.
    fn wake(&self, is_urgent: bool) -> u64 {
        let mut control = locked(&self.control);
        self.is_awake.store(true, Ordering::SeqCst);
        control.is_urgent |= is_urgent;
        let begun = control.begun;
        drop(control);
        self.wake.notify_one();
        begun
    }

    fn run(&self, mut out: impl Write, loss: impl Fn(u64) -> String) {
        let mut bytes = Vec::new();
        let mut untold = 0;
        let mut is_torn = false;
        loop {
            self.wait();
            let mut failed = 0;
            for buffer in self.buffers.all() {
                let (lines, lost) = {
                    let mut buffer = locked(buffer);
                    std::mem::swap(&mut buffer.bytes, &mut bytes);
                    let lines = std::mem::take(&mut buffer.lines);
                    (lines, std::mem::take(&mut buffer.lost))
                };
                let written = write_lines(&mut out, &bytes, &mut is_torn);
                let missing = lines - written;
                self.lost.fetch_add(missing, Ordering::Relaxed);
                failed += missing;
                untold += missing + lost;
                bytes.clear();
                // It becomes the buffer of other threads.
                bytes.shrink_to(PAUSE_BYTES_MAX);
            }
            // Lines are lost after those that wait, so the log says it after them.
            if failed == 0 && untold > 0 {
                let line = loss(untold);
                if write_lines(&mut out, line.as_bytes(), &mut is_torn) > 0 {
                    untold = 0;
                }
            }
            let mut control = locked(&self.control);
            control.done = control.begun;
            drop(control);
            self.is_written.notify_all();
        }
    }

    /// Waits for lines, and then a little for more of them.
    fn wait(&self) {
        let mut control = locked(&self.control);
        while !self.is_awake.load(Ordering::SeqCst) {
            control = self
                .wake
                .wait(control)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut control = self
            .wake
            .wait_timeout_while(control, PAUSE, |control| !control.is_urgent)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        control.is_urgent = false;
        control.begun += 1;
        self.is_awake.store(false, Ordering::SeqCst);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes lines, and returns how many of them were written completely. `is_torn`: the last byte that
/// was written before is within a line.
fn write_lines(out: &mut impl Write, lines: &[u8], is_torn: &mut bool) -> u64 {
    // What is left of a line that was cut must not join the next one.
    if *is_torn && out.write_all(b"\n").is_err() {
        return 0;
    }
    *is_torn = false;
    let mut rest = lines;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(length) if length > 0 => rest = rest.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    let written = lines.get(..lines.len() - rest.len()).unwrap_or_default();
    *is_torn = written.last().is_some_and(|last| *last != b'\n');
    memchr::memchr_iter(b'\n', written).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader who takes each write only when it is told to.
    struct Slow {
        written: mpsc::Sender<String>,
        go_on: mpsc::Receiver<io::Result<usize>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written
                .send(String::from_utf8(bytes.to_vec()).unwrap())
                .unwrap();
            let taken = self.go_on.recv().unwrap()?;
            Ok(taken.min(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (
        Writer,
        mpsc::Receiver<String>,
        mpsc::Sender<io::Result<usize>>,
    ) {
        let (written, writes) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let out = Slow {
            written,
            go_on: told,
        };
        let writer = Writer::start(out, |lost| format!("{lost} lost\n"));
        (writer, writes, go_on)
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_the_log_says_so() {
        let (writer, writes, go_on) = slow();
        writer.push("first\n");
        assert_eq!(writes.recv().unwrap(), "first\n");
        // Nothing is read from now on.
        let line = "x".repeat(WAITING_BYTES_MAX / 4 - 1) + "\n";
        for _ in 0..6 {
            writer.push(&line);
        }
        assert_eq!(writer.lost(), 2);
        go_on.send(Ok(usize::MAX)).unwrap();
        assert_eq!(writes.recv().unwrap(), line.repeat(4));
        go_on.send(Ok(usize::MAX)).unwrap();
        assert_eq!(writes.recv().unwrap(), "2 lost\n");
        go_on.send(Ok(usize::MAX)).unwrap();
        writer.push("last\n");
        assert_eq!(writes.recv().unwrap(), "last\n");
        go_on.send(Ok(usize::MAX)).unwrap();
        writer.flush(Duration::from_secs(60));
        assert_eq!(writer.lost(), 2);
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_later_ones_are_whole() {
        let full = || Err(io::ErrorKind::StorageFull.into());
        let (writer, writes, go_on) = slow();
        writer.push("first\n");
        assert_eq!(writes.recv().unwrap(), "first\n");
        writer.push("second\n");
        writer.push("third\n");
        go_on.send(Ok(usize::MAX)).unwrap();
        // The disk takes the second line and a part of the third.
        assert_eq!(writes.recv().unwrap(), "second\nthird\n");
        go_on.send(Ok(9)).unwrap();
        assert_eq!(writes.recv().unwrap(), "ird\n");
        writer.push("fourth\n");
        go_on.send(full()).unwrap();
        for line in ["\n", "fourth\n", "1 lost\n"] {
            assert_eq!(writes.recv().unwrap(), line);
            go_on.send(Ok(usize::MAX)).unwrap();
        }
        writer.flush(Duration::from_secs(60));
        assert_eq!(writer.lost(), 1);
    }

    #[test]
    fn lines_of_several_threads_are_all_written_and_those_of_each_in_their_order() {
        const THREADS: usize = 4;
        const LINES: usize = 5000;
        let (writer, writes, go_on) = slow();
        for _ in 0..THREADS * LINES {
            go_on.send(Ok(usize::MAX)).unwrap();
        }
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let writer = &writer;
                scope.spawn(move || {
                    for line in 0..LINES {
                        writer.push(&format!("{thread} {line}\n"));
                    }
                });
            }
        });
        writer.flush(Duration::from_secs(60));
        let text: String = writes.try_iter().collect();
        let mut next = [0; THREADS];
        for line in text.lines() {
            let (thread, line) = line.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(line.parse::<usize>().unwrap(), *next);
            *next += 1;
        }
        assert_eq!((next, writer.lost()), ([LINES; THREADS], 0));
    }
}
