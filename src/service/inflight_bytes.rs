//! The bytes of all request bodies together, which have a limit (`--max-inflight-request-bytes`). A
//! refused caller can try again; a process without memory cannot.
//!
//! The bytes of a request are counted from when they arrive until they are dropped: while the
//! request waits for units, and while it is sent upstream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::error::{Error, ErrorCode, Result};

/// When a refused caller may try again: most requests are sent upstream in less time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The counter of all request bodies. Cheap to clone; all clones count together.
///
/// ```
/// # use featherwire::service::inflight_bytes::InflightBytes;
/// let inflight = InflightBytes::new(100);
/// let share = inflight.share();
/// share.add(60).unwrap();
/// assert!(inflight.share().add(60).is_err());
/// drop(share);
/// assert_eq!(inflight.used(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct InflightBytes(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    max: usize,
    used: AtomicUsize,
}

impl InflightBytes {
    /// A counter with this limit in bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Counter {
            max: bytes_max,
            used: AtomicUsize::new(0),
        }))
    }

    /// The share of a new request.
    pub fn share(&self) -> Arc<ByteShare> {
        Arc::new(ByteShare {
            counter: Arc::clone(&self.0),
            bytes: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
        })
    }

    /// The bytes that are counted now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Counter {
    /// Whether `more` bytes fit beside `used`, of which the request itself has `own`. A request
    /// that is alone always fits: it has a limit of its own.
    fn fits(&self, used: usize, own: usize, more: usize) -> bool {
        used == own || used.saturating_add(more) <= self.max
    }

    fn take(&self, own: usize, more: usize) -> Result<()> {
        let add = |used: usize| {
            self.fits(used, own, more)
                .then(|| used.saturating_add(more))
        };
        let result = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        result.map(drop).map_err(|_| self.full())
    }

    fn subtract(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn full(&self) -> Error {
        let message = format!(
            "The requests in the gateway have reached the limit of {} bytes together: try again \
             soon, or raise --max-inflight-request-bytes",
            self.max
        );
        Error::new(ErrorCode::TooManyRequestBytes, message).with_retry_after(RETRY_AFTER)
    }
}

/// The bytes of one request while it arrives. It is among the extensions of the request. Dropping
/// it gives its bytes back.
#[derive(Debug)]
pub struct ByteShare {
    counter: Arc<Counter>,
    bytes: AtomicUsize,
    /// All bytes that were added.
    arrived: AtomicUsize,
}

impl ByteShare {
    /// Checks that `more` bytes would fit now.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if they do not.
    pub fn expect(&self, more: usize) -> Result<()> {
        let used = self.counter.used.load(Ordering::Relaxed);
        if self.counter.fits(used, self.bytes(), more) {
            Ok(())
        } else {
            Err(self.counter.full())
        }
    }

    /// Adds `more` bytes.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if they do not fit.
    pub fn add(&self, more: usize) -> Result<()> {
        self.take(more)?;
        self.arrived.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Takes `more` bytes that do not arrive.
    fn take(&self, more: usize) -> Result<()> {
        self.counter.take(self.bytes(), more)?;
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes have arrived since the beginning.
    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Subtracts `bytes`.
    pub fn subtract(&self, bytes: usize) {
        let before = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |own| {
                own.checked_sub(bytes)
            });
        if before.is_ok() {
            self.counter.subtract(bytes);
        }
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Moves all its bytes into [`HeldBytes`], for what is made of the body.
    pub fn hold(&self) -> HeldBytes {
        HeldBytes {
            bytes: self.bytes.swap(0, Ordering::Relaxed),
            counter: Arc::clone(&self.counter),
        }
    }
}

impl Drop for ByteShare {
    fn drop(&mut self) {
        self.counter.subtract(self.bytes());
    }
}

/// Memory that one request needs only while it is decoded, counted with its bytes. Dropping it
/// gives it back.
#[derive(Debug)]
pub struct ScratchBytes<'a> {
    share: Option<&'a ByteShare>,
    bytes: usize,
}

impl<'a> ScratchBytes<'a> {
    /// Nothing at first, of a request with this share. Without a share nothing is counted.
    pub fn of(share: Option<&'a ByteShare>) -> Self {
        Self { share, bytes: 0 }
    }

    /// Makes it at least `bytes` bytes large.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if they do not fit.
    pub fn grow_to(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            self.share.map_or(Ok(()), |share| share.take(more))?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for ScratchBytes<'_> {
    fn drop(&mut self) {
        self.share
            .into_iter()
            .for_each(|share| share.subtract(self.bytes));
    }
}

/// The bytes of one request that has arrived. Dropping it gives them back.
#[derive(Debug)]
pub struct HeldBytes {
    counter: Arc<Counter>,
    bytes: usize,
}

impl HeldBytes {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the number of bytes.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if there are more than before, and
    /// they do not fit.
    pub fn resize(&mut self, bytes: usize) -> Result<()> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.counter.take(self.bytes, more)?,
            None => self.counter.subtract(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.counter.subtract(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_exactly_once_whatever_becomes_of_it() {
        let inflight = InflightBytes::new(100);
        let refused = inflight.share();
        refused.add(30).unwrap();
        refused.add(30).unwrap();
        drop(refused);
        assert_eq!(inflight.used(), 0);
        let arrived = inflight.share();
        arrived.add(60).unwrap();
        let mut held = arrived.hold();
        drop(arrived);
        assert_eq!(inflight.used(), 60);
        held.resize(80).unwrap();
        held.resize(20).unwrap();
        assert_eq!(inflight.used(), 20);
        drop(held);
        assert_eq!(inflight.used(), 0);
    }

    #[test]
    fn memory_for_decoding_counts_until_it_is_dropped() {
        let inflight = InflightBytes::new(100);
        let (share, other) = (inflight.share(), inflight.share());
        share.add(10).unwrap();
        other.add(10).unwrap();
        let mut scratch = ScratchBytes::of(Some(&share));
        for (bytes, used) in [(0, 20), (50, 70), (20, 70), (80, 100)] {
            scratch.grow_to(bytes).unwrap();
            assert_eq!(inflight.used(), used);
        }
        assert!(scratch.grow_to(81).is_err());
        assert!(ScratchBytes::of(Some(&other)).grow_to(1).is_err());
        drop(scratch);
        assert_eq!(
            (inflight.used(), share.bytes(), share.arrived()),
            (20, 10, 10)
        );
        ScratchBytes::of(None).grow_to(1000).unwrap();
    }

    #[test]
    fn together_they_are_bounded_and_one_alone_is_not() {
        let inflight = InflightBytes::new(100);
        let first = inflight.share();
        first.add(150).unwrap();
        first.add(50).unwrap();
        let second = inflight.share();
        let error = second.add(1).unwrap_err();
        assert_eq!(
            (error.code(), error.retry_after()),
            ("too_many_request_bytes", Some(RETRY_AFTER))
        );
        assert!(second.expect(1).is_err());
        first.subtract(120);
        second.expect(20).unwrap();
        second.add(20).unwrap();
        assert!(second.add(1).is_err());
        assert!(first.hold().resize(81).is_err());
        assert_eq!(inflight.used(), 20);
        drop((first, second));
        assert_eq!(inflight.used(), 0);
    }
}
