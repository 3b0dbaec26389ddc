//! Measures the effect of an attack on other callers: the time of the health probe, and the memory
//! of the gateway. It uses its own thread and plain sockets, so that the attack's own work in this
//! process does not distort the measurement.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{KEY, process::Numbers};

/// The pause between two probes.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest wait for a probe's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A thread that probes until it is stopped.
pub struct Bystander {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// The measurements.
#[derive(Default)]
pub struct Seen {
    /// The time of each probe, sorted.
    waits: Vec<Duration>,
    /// Probes without an answer on two connections.
    pub unanswered: usize,
    /// The largest memory, in bytes.
    pub memory_max: f64,
}

impl Bystander {
    pub fn begin(address: SocketAddr, numbers: Numbers) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            let mut connection = None;
            while !until.load(Relaxed) {
                let begun = Instant::now();
                // Until its first request has arrived, a new connection has no key and may be closed
                // for another one. As HTTP clients do, a probe tries a second connection then.
                let answered = probe(&mut connection, address).or_else(|_| {
                    connection = None;
                    probe(&mut connection, address)
                });
                match answered {
                    Ok(()) => seen.waits.push(begun.elapsed()),
                    Err(_) => {
                        connection = None;
                        seen.unanswered += 1;
                    }
                }
                seen.memory_max = seen.memory_max.max(numbers.memory());
                thread::sleep(PAUSE);
            }
            seen.waits.sort_unstable();
            seen
        });
        Self { is_over, thread }
    }

    pub fn end(self) -> Seen {
        self.is_over.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

impl Seen {
    /// The time that `percent` percent of the probes do not exceed, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let place = (self.waits.len() * percent / 100).min(self.waits.len().saturating_sub(1));
        self.waits
            .get(place)
            .map_or(f64::NAN, |wait| wait.as_secs_f64() * 1000.0)
    }
}

fn probe(connection: &mut Option<TcpStream>, address: SocketAddr) -> io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        }
    };
    // With a key, because an idle connection without a key may be closed for others.
    stream.write_all(
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n\r\n").as_bytes(),
    )?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}
