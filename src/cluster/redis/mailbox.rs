//! Reads messages from a Redis Stream, as they come.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

use super::{
    super::message::{Epoch, MemberId},
    open::{Connection, RESPONSE_TIMEOUT},
    problem::{Problem, breaks_connection},
};
use crate::config::RedisUrl;

/// The largest number of messages that are read at once.
pub const ENTRIES_MAX: usize = 256;

/// For how long Redis waits for the first message. An answer without one shows that it is alive.
const BLOCK: Duration = Duration::from_secs(1);

/// The shortest and the longest wait before an attempt that follows a failed one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// After this number of messages those that were read are removed from the stream.
const KEPT_MAX: usize = 1024;

/// Before the first message of a stream.
const BEGINNING: &str = "0-0";

/// Whose messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// To this member.
    Member(MemberId),
    /// To the leader of this epoch.
    Leader(Epoch),
}

/// Reads the messages to one member or leader, from the oldest that Redis still has. It connects
/// when it is asked for the first time, and again when the connection breaks. Dropping it closes the
/// connection.
///
/// Messages come in their order. If Redis has lost some, they are missing. If it has lost the end of
/// the stream and goes on, messages before that can come again.
pub struct MailboxReader {
    /// What the reader does next, or does now. It is kept here when the caller stops waiting.
    attempt: Attempt,
}

type Attempt = Pin<Box<dyn Future<Output = (State, Result<Vec<Bytes>, Problem>)> + Send>>;

/// The state between two attempts.
struct State {
    url: RedisUrl,
    stream: String,
    connection: Option<Connection>,
    /// The last message that was returned. `None` before a reader that begins with the newest one
    /// knows it.
    last: Option<String>,
    /// The wait before the next attempt. Zero after a success.
    backoff: Duration,
    /// Nobody else reads this stream.
    is_only_reader: bool,
    /// How many messages were read since those that were read were removed.
    read_kept: usize,
}

impl MailboxReader {
    pub(super) fn new(url: RedisUrl, stream: String) -> Self {
        Self::after(url, stream, Some(BEGINNING.to_owned()))
    }

    /// Reads only messages that are sent after the first attempt.
    pub(super) fn from_now(url: RedisUrl, stream: String) -> Self {
        Self::after(url, stream, None)
    }

    fn after(url: RedisUrl, stream: String, last: Option<String>) -> Self {
        let state = State {
            url,
            stream,
            connection: None,
            is_only_reader: last.is_some(),
            last,
            backoff: Duration::ZERO,
            read_kept: 0,
        };
        Self {
            attempt: Box::pin(state.attempt()),
        }
    }

    /// Waits for messages: at least one, at most [`ENTRIES_MAX`]. If the result is dropped before it
    /// is ready, nothing is lost.
    ///
    /// # Errors
    /// Redis cannot be used. Call it again: it waits a little and tries again.
    pub async fn next(&mut self) -> Result<Vec<Bytes>, Problem> {
        loop {
            let (state, result) = self.attempt.as_mut().await;
            self.attempt = Box::pin(state.attempt());
            match result {
                Ok(messages) if messages.is_empty() => {}
                result => return result,
            }
        }
    }
}

impl State {
    /// Reads once. No messages if none came for a while.
    async fn attempt(mut self) -> (Self, Result<Vec<Bytes>, Problem>) {
        if !self.backoff.is_zero() {
            tokio::time::sleep(self.backoff).await;
        }
        let result = self.read().await;
        self.backoff = match &result {
            Ok(_) => Duration::ZERO,
            Err(_) => (self.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX),
        };
        (self, result)
    }

    async fn read(&mut self) -> Result<Vec<Bytes>, Problem> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.url, BLOCK + RESPONSE_TIMEOUT).await?,
        };
        let result = self.read_from(&mut connection).await;
        if !result.as_ref().is_err_and(breaks_connection) {
            self.connection = Some(connection);
        }
        result.map_err(|error| Problem::of(&self.url, &error))
    }

    async fn read_from(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Vec<Bytes>, redis::RedisError> {
        let last = match &self.last {
            Some(last) => last.clone(),
            None => self.newest(connection).await?,
        };
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT")
            .arg(ENTRIES_MAX)
            .arg("BLOCK")
            .arg(BLOCK.as_millis().to_string())
            .arg("STREAMS")
            .arg(&self.stream)
            .arg(&last);
        self.last = Some(last.clone());
        let streams: Option<Vec<(String, Vec<Entry>)>> = connection.query(&read).await?;
        let entries: Vec<_> = streams
            .into_iter()
            .flatten()
            .flat_map(|(_, entries)| entries)
            .collect();
        match entries.last() {
            Some((id, _)) => {
                self.last = Some(id.clone());
                self.read_kept += entries.len();
                if self.is_only_reader && self.read_kept >= KEPT_MAX {
                    self.read_kept = 0;
                    // If it fails, the length of the stream has a bound all the same.
                    self.forget_before(connection, &id.clone()).await.ok();
                }
            }
            None => self.rewind(connection, &last).await?,
        }
        // A message is the value of the only field.
        let messages = entries.into_iter().filter_map(|(_, fields)| {
            let (_, message) = fields.into_iter().next()?;
            Some(message)
        });
        Ok(messages.collect())
    }

    /// Removes what was read from the stream.
    async fn forget_before(
        &self,
        connection: &mut Connection,
        id: &str,
    ) -> Result<(), redis::RedisError> {
        let mut trim = redis::cmd("XTRIM");
        trim.arg(&self.stream).arg("MINID").arg(id);
        let _removed: u64 = connection.query(&trim).await?;
        Ok(())
    }

    /// Begins again if Redis has lost what was read: a stream that is created again may number its
    /// messages lower, if the clock of Redis went back.
    async fn rewind(
        &mut self,
        connection: &mut Connection,
        last: &str,
    ) -> Result<(), redis::RedisError> {
        if number(&self.newest(connection).await?) < number(last) {
            self.last = Some(BEGINNING.to_owned());
        }
        Ok(())
    }

    /// The newest message that the stream has.
    async fn newest(&self, connection: &mut Connection) -> Result<String, redis::RedisError> {
        let mut newest = redis::cmd("XREVRANGE");
        newest
            .arg(&self.stream)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1);
        let newest: Vec<Entry> = connection.query(&newest).await?;
        let newest = newest.into_iter().next().map(|(id, _)| id);
        Ok(newest.unwrap_or_else(|| BEGINNING.to_owned()))
    }
}

/// The number of a message, and its fields.
type Entry = (String, Vec<(Bytes, Bytes)>);

/// The number of a message as something that can be compared: milliseconds and a count.
fn number(id: &str) -> (u64, u64) {
    let (time, count) = id.split_once('-').unwrap_or((id, "0"));
    (
        time.parse().unwrap_or_default(),
        count.parse().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_messages_are_compared_as_numbers() {
        assert!(number("9-10") > number("9-9"));
        assert!(number("10-0") > number("9-9"));
        assert_eq!(number("7"), (7, 0));
    }
}
