//! The bytes of all requests' bodies together, which have a bound: a caller who is refused can come
//! again, and a process without memory can't.
//!
//! What a request takes is counted as it arrives, and until its bytes are gone: while it waits for
//! units, and while it is sent upstream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::error::{Error, ErrorCode, Result};

/// When a caller may come again who was refused: most requests are on their way upstream in less.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All requests' bodies. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    max: usize,
    taken: AtomicUsize,
}

impl Bodies {
    /// None yet, and at most this many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Pool {
            max: bytes_max,
            taken: AtomicUsize::new(0),
        }))
    }

    /// The share of a request that begins.
    pub fn share(&self) -> Arc<Share> {
        Arc::new(Share {
            pool: Arc::clone(&self.0),
            bytes: AtomicUsize::new(0),
        })
    }

    /// The bytes of all bodies that are here.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Pool {
    /// Whether this many bytes more fit beside those that are taken, of which the request itself
    /// has `own`. A request that is alone always fits: it has a limit of its own.
    fn fits(&self, taken: usize, own: usize, more: usize) -> bool {
        taken == own || taken.saturating_add(more) <= self.max
    }

    fn take(&self, own: usize, more: usize) -> Result<()> {
        let add = |taken: usize| {
            self.fits(taken, own, more)
                .then(|| taken.saturating_add(more))
        };
        let result = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        result.map(drop).map_err(|_| self.full())
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn full(&self) -> Error {
        let message = format!(
            "The requests that the gateway holds take as many bytes as they may together ({}): \
             try again soon, or raise --max-inflight-request-bytes",
            self.max
        );
        Error::new(ErrorCode::TooManyRequestBytes, message).with_retry_after(RETRY_AFTER)
    }
}

/// What one request takes while it arrives. It comes among the request's extensions; dropped, what
/// it has is given back.
#[derive(Debug)]
pub struct Share {
    pool: Arc<Pool>,
    bytes: AtomicUsize,
}

impl Share {
    /// Whether this many bytes more would fit now.
    ///
    /// # Errors
    /// Unavailable, if they would not.
    pub fn expect(&self, more: usize) -> Result<()> {
        let taken = self.pool.taken.load(Ordering::Relaxed);
        if self.pool.fits(taken, self.bytes(), more) {
            Ok(())
        } else {
            Err(self.pool.full())
        }
    }

    /// Takes this many bytes more.
    ///
    /// # Errors
    /// Unavailable, if they don't fit.
    pub fn add(&self, more: usize) -> Result<()> {
        self.pool.take(self.bytes(), more)?;
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Gives this many bytes back.
    pub fn give_back(&self, bytes: usize) {
        let before = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |own| {
                own.checked_sub(bytes)
            });
        if before.is_ok() {
            self.pool.give_back(bytes);
        }
    }

    /// What it has.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes all that it has out of it: for the bytes that become of it.
    pub fn hold(&self) -> Held {
        Held {
            bytes: self.bytes.swap(0, Ordering::Relaxed),
            pool: Arc::clone(&self.pool),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes());
    }
}

/// What one request takes once it has arrived. Dropped, it is given back.
#[derive(Debug)]
pub struct Held {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Held {
    /// What it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes this many bytes in all from now on.
    ///
    /// # Errors
    /// Unavailable, if it would be more than before, and doesn't fit.
    pub fn resize(&mut self, bytes: usize) -> Result<()> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.pool.take(self.bytes, more)?,
            None => self.pool.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_exactly_once_whatever_becomes_of_it() {
        let bodies = Bodies::new(100);
        let refused = bodies.share();
        refused.add(30).unwrap();
        refused.add(30).unwrap();
        drop(refused);
        assert_eq!(bodies.taken(), 0);
        let arrived = bodies.share();
        arrived.add(60).unwrap();
        let mut held = arrived.hold();
        drop(arrived);
        assert_eq!(bodies.taken(), 60);
        held.resize(80).unwrap();
        held.resize(20).unwrap();
        assert_eq!(bodies.taken(), 20);
        drop(held);
        assert_eq!(bodies.taken(), 0);
    }

    #[test]
    fn together_they_are_bounded_and_one_alone_is_not() {
        let bodies = Bodies::new(100);
        let first = bodies.share();
        first.add(150).unwrap();
        first.add(50).unwrap();
        let second = bodies.share();
        let error = second.add(1).unwrap_err();
        assert_eq!(
            (error.code(), error.retry_after()),
            ("too_many_request_bytes", Some(RETRY_AFTER))
        );
        assert!(second.expect(1).is_err());
        first.give_back(120);
        second.expect(20).unwrap();
        second.add(20).unwrap();
        assert!(second.add(1).is_err());
        assert!(first.hold().resize(81).is_err());
        assert_eq!(bodies.taken(), 20);
        drop((first, second));
        assert_eq!(bodies.taken(), 0);
    }
}
