//! The connection of the gateways to each other: elections and messages through Redis, as bytes.
//! What the messages say is the protocol's ([`message`](super::message)).
//!
//! - [`problem`](Problem): what can go wrong, in words for the owner of the gateway.
//! - `open` and `link`: connections, which are opened again when they break.
//! - `look`: what answers at the URL, if it is not what the URL says.
//! - `election`: who leads, and who is a member. It is one script ([`Redis::campaign`]).
//! - `streams` and `mailbox`: messages, each in a Redis Stream.
//! - `rates`: limits for a minute, which all gateways share.
//! - `rights`: whether the user may do what all of this needs.
//! - `eviction`: whether Redis may drop keys.
//! - `names` and `script`: the keys in Redis, and the scripts that run there.
//!
//! # What Redis has
//!
//! All keys of a cluster begin with `featherwire:{NAME}:`. The braces are a hash tag, so all keys are
//! on one node of a Redis Cluster, and a script may use several of them. Each key expires by itself.
//!
//! # Clocks
//!
//! Only the clock of Redis counts, and it is compared only with itself. It may jump: a script that
//! sees an earlier time than the last one begins a new *window*, in which Redis may have forgotten
//! members ([`Standing::are_members_complete`]). An epoch is the time of Redis in microseconds, but
//! always greater than each epoch that Redis or the candidate knows.

mod election;
mod eviction;
mod link;
mod look;
mod mailbox;
mod names;
mod open;
mod problem;
mod rates;
mod rights;
mod script;
mod streams;

use std::{fmt, sync::Arc};

use bytes::Bytes;

pub use election::{Candidate, LEASE, NOTE_BYTES_MAX, Standing, VIEW_BYTES_MAX};
use link::Link;
pub use look::LOOK_TIMEOUT;
pub use mailbox::{ENTRIES_MAX, Mailbox, MailboxReader};
use names::Names;
pub use open::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
pub use problem::{Problem, ProblemKind};
pub use rates::{AHEAD_MAX_NS, Advance, CORRECTIONS_MAX};
pub use streams::{MESSAGE_BYTES_MAX, STREAM_ENTRIES_MAX};

use super::message::{Epoch, MemberId};
use crate::config::RedisUrl;

/// A Redis, through which the gateways of a cluster talk. Cheap to clone; all clones share one
/// connection, which is opened when it is needed, and again when it breaks.
///
/// A method waits for [`CONNECT_TIMEOUT`] and [`RESPONSE_TIMEOUT`] at most. After most errors it is
/// not known whether Redis has done what was asked, and it may even do it later:
/// [`Problem::may_be_done`].
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
    names: Arc<Names>,
}

impl Redis {
    /// The Redis at `url`, with the keys of the cluster `space`. Opens no connection.
    pub fn new(url: &RedisUrl, space: &str) -> Self {
        Self {
            link: Arc::new(Link::new(url.clone())),
            names: Arc::new(Names::new(space)),
        }
    }

    /// The Redis at `url`, with the keys of the cluster `space`. Opens the connection and checks it.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub async fn connect(url: &RedisUrl, space: &str) -> Result<Self, Problem> {
        let redis = Self::new(url, space);
        redis.check().await?;
        Ok(redis)
    }

    /// Opens the connection, if there is none, and checks that a Redis of a sufficient version is
    /// there, accepts the user, and lets the user do all that is needed. After a problem it looks for
    /// [`LOOK_TIMEOUT`] at most for the reason.
    ///
    /// # Errors
    /// It cannot be used. [`ProblemKind::is_transient`] says whether it may be later.
    pub async fn check(&self) -> Result<(), Problem> {
        let checking = async {
            // An error of the connection says more than an error of the script.
            self.link.connection().await?;
            rights::check(&self.link, &self.names).await
        };
        match checking.await {
            Ok(()) => Ok(()),
            Err(problem) => Err(look::reason(self.link.url(), problem).await),
        }
    }

    /// A warning if this Redis may drop keys of the cluster before they expire. `None` also if the
    /// user may not see that.
    pub async fn eviction_warning(&self) -> Option<String> {
        let (mut connection, _) = self.link.connection().await.ok()?;
        let information = connection.information("memory").await.ok()?;
        eviction::warning(self.link.url(), &information)
    }

    /// Takes part in the election: tells that the candidate is alive, and takes or renews the lease
    /// if nobody else has it. Call it once a second.
    ///
    /// # Errors
    /// Redis cannot be used, or a part of `candidate` is too long.
    pub async fn campaign(&self, candidate: Candidate) -> Result<Standing, Problem> {
        election::campaign(&self.link, &self.names, candidate).await
    }

    /// Leaves the cluster, at a drain. A leader gives its lease back, so that another one can take
    /// it at once.
    ///
    /// # Errors
    /// Redis cannot be used. Then the member and its lease expire.
    pub async fn resign(&self, member: MemberId) -> Result<(), Problem> {
        election::resign(&self.link, &self.names, member).await
    }

    /// Sends a message to the leader of `epoch`, whether it still leads or not.
    ///
    /// # Errors
    /// Redis cannot be used, or the message is longer than [`MESSAGE_BYTES_MAX`].
    pub async fn to_leader(&self, epoch: Epoch, message: Bytes) -> Result<(), Problem> {
        streams::to_leader(&self.link, &self.names, epoch, message).await
    }

    /// Sends messages of the leader to members, in their order, if it still leads. Redis decides
    /// that when it appends them, so a leader that was replaced writes nothing. `false` if it was
    /// replaced; then some of the first messages may have been sent before.
    ///
    /// # Errors
    /// Redis cannot be used, or a message is longer than [`MESSAGE_BYTES_MAX`].
    pub async fn to_members(
        &self,
        leader: MemberId,
        epoch: Epoch,
        messages: Vec<(MemberId, Bytes)>,
    ) -> Result<bool, Problem> {
        streams::to_members(&self.link, &self.names, leader, epoch, messages).await
    }

    /// Reads the messages to a member or to a leader, on a connection of its own.
    pub fn mailbox(&self, of: Mailbox) -> MailboxReader {
        MailboxReader::new(self.link.url().clone(), self.names.stream(of))
    }

    /// Tells all who [`listen`](Self::listen) to `topic`, this gateway too.
    ///
    /// # Errors
    /// Redis cannot be used, or the message is longer than [`MESSAGE_BYTES_MAX`].
    pub async fn tell(&self, topic: &str, message: Bytes) -> Result<(), Problem> {
        streams::append(&self.link, &self.names.topic(topic), message).await
    }

    /// Reads what is told about `topic` from the first [`next`](MailboxReader::next) on, by a
    /// connection of its own.
    pub fn listen(&self, topic: &str) -> MailboxReader {
        MailboxReader::from_now(self.link.url().clone(), self.names.topic(topic))
    }

    /// Moves the time of the limit `name` forward by `part_ns`, if it is not more than `most_ns`
    /// ahead of now then. Both are at most [`AHEAD_MAX_NS`].
    ///
    /// # Errors
    /// Redis cannot be used.
    pub async fn advance(
        &self,
        name: &str,
        part_ns: u64,
        most_ns: u64,
    ) -> Result<Advance, Problem> {
        rates::advance(&self.link, &self.names, name, part_ns, most_ns).await
    }

    /// Moves the times of limits forward, or back if the number is negative, whether they allow it
    /// or not: at most [`CORRECTIONS_MAX`] in one step of Redis.
    ///
    /// # Errors
    /// Redis cannot be used. [`Problem::may_be_done`] says whether it may have moved them.
    pub async fn correct(&self, corrections: &[(String, i64)]) -> Result<(), Problem> {
        rates::correct(&self.link, &self.names, corrections).await
    }
}

/// Shows no password.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(self.link.url()).finish()
    }
}
