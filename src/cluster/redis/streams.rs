//! Messages, which are appended to Redis Streams.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;

use super::{
    super::message::{Epoch, MemberId},
    election::LEASE,
    link::Link,
    mailbox::Mailbox,
    names::Names,
    problem::{Problem, ProblemKind},
    script::Script,
};

/// The largest size of a message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The largest number of messages in a stream, about. Redis drops the oldest ones beyond it. A
/// reader that is so far behind has lost its session.
pub const STREAM_ENTRIES_MAX: usize = 65_536;

/// For how long Redis keeps a stream after its last message. Members and leaders write more often.
const STREAM_TTL: Duration = Duration::from_secs(60);

/// The largest number of messages that one script appends. Redis does nothing else while it runs.
const SCRIPT_MESSAGES_MAX: usize = 1000;

static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/append.lua")));

static TO_MEMBERS: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/to_members.lua")));

pub(super) async fn to_leader(
    link: &Link,
    names: &Names,
    epoch: Epoch,
    message: Bytes,
) -> Result<(), Problem> {
    append(link, &names.stream(Mailbox::Leader(epoch)), message).await
}

/// Appends a message to a stream.
pub(super) async fn append(link: &Link, stream: &str, message: Bytes) -> Result<(), Problem> {
    check_size(link, &message)?;
    let (entries_max, ttl) = bounds();
    let arguments = [entries_max.as_bytes(), ttl.as_bytes(), &message];
    APPEND.run(link, &[stream], &arguments).await
}

pub(super) async fn to_members(
    link: &Link,
    names: &Names,
    leader: MemberId,
    epoch: Epoch,
    messages: Vec<(MemberId, Bytes)>,
) -> Result<bool, Problem> {
    for (_, message) in &messages {
        check_size(link, message)?;
    }
    let (leader, epoch) = (leader.0.to_string(), epoch.0.to_string());
    let lease = LEASE.as_millis().to_string();
    let (entries_max, ttl) = bounds();
    for part in messages.chunks(SCRIPT_MESSAGES_MAX) {
        let streams = part.iter();
        let streams: Vec<_> = streams
            .map(|(member, _)| names.stream(Mailbox::Member(*member)))
            .collect();
        let mut keys = vec![names.lease.as_str()];
        keys.extend(streams.iter().map(String::as_str));
        let mut arguments = vec![
            leader.as_bytes(),
            epoch.as_bytes(),
            lease.as_bytes(),
            entries_max.as_bytes(),
            ttl.as_bytes(),
        ];
        arguments.extend(part.iter().map(|(_, message)| &message[..]));
        let is_leader: bool = TO_MEMBERS.run(link, &keys, &arguments).await?;
        if !is_leader {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bounds of a stream, as arguments of scripts.
fn bounds() -> (String, String) {
    let ttl = STREAM_TTL.as_millis();
    (STREAM_ENTRIES_MAX.to_string(), ttl.to_string())
}

fn check_size(link: &Link, message: &Bytes) -> Result<(), Problem> {
    if message.len() <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let what = format!("a message has {} bytes, which is too long", message.len());
    Err(Problem::new(link.url(), ProblemKind::TooLarge, &what))
}
