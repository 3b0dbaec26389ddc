//! Messages and views as bytes: protobuf, so that gateways of two versions understand each other
//! while one replaces the other. Members of a message are never given another meaning.
//!
//! A time is sent as a duration, because clocks differ: a deadline from the moment of sending, and a
//! wait as it was when the message was made.

mod bodies;
mod request;
mod status;

use std::time::{Duration, Instant};

use prost::Message;

use super::{
    core::{ToLeader, ToMember},
    view::View,
};
use crate::cluster::message::{Epoch, LeaderMessage, MemberId, MemberMessage, MemberTime};

/// Messages to one receiver, in order.
#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    to_leader: Vec<OfMember>,
    #[prost(message, repeated, tag = "2")]
    to_member: Vec<OfLeader>,
}

#[derive(Clone, PartialEq, Message)]
struct OfMember {
    #[prost(fixed64, tag = "1")]
    member: u64,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    session: u64,
    #[prost(uint64, tag = "4")]
    number: u64,
    #[prost(uint64, tag = "5")]
    sent_at_us: u64,
    #[prost(
        oneof = "bodies::ToLeaderBody",
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19"
    )]
    body: Option<bodies::ToLeaderBody>,
}

#[derive(Clone, PartialEq, Message)]
struct OfLeader {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    session: u64,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(oneof = "bodies::ToMemberBody", tags = "10, 11, 12, 13")]
    body: Option<bodies::ToMemberBody>,
}

/// A message, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Empty {}

/// Why bytes are not understood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unknown;

/// The bytes of messages to the leader.
pub(super) fn encode_to_leader<'a>(
    messages: impl IntoIterator<Item = &'a ToLeader>,
    now: Instant,
) -> Vec<u8> {
    let to_leader = messages.into_iter().map(|message| OfMember {
        member: message.member.0,
        epoch: message.epoch.0,
        session: message.session,
        number: message.number,
        sent_at_us: request::microseconds(message.sent_at.0),
        body: Some(bodies::ToLeaderBody::new(&message.body, now)),
    });
    let batch = Batch {
        to_leader: to_leader.collect(),
        to_member: Vec::new(),
    };
    batch.encode_to_vec()
}

/// The bytes of messages to one member.
pub(super) fn encode_to_member(messages: &[ToMember]) -> Vec<u8> {
    let to_member = messages.iter().map(|message| OfLeader {
        epoch: message.epoch.0,
        session: message.session,
        number: message.number,
        body: Some(bodies::ToMemberBody::new(&message.body)),
    });
    let batch = Batch {
        to_leader: Vec::new(),
        to_member: to_member.collect(),
    };
    batch.encode_to_vec()
}

/// The messages to the leader in these bytes, up to the first that is not understood: those behind
/// it are lost with it, and the session begins again.
pub(super) fn decode_to_leader(bytes: &[u8], now: Instant) -> Result<Vec<ToLeader>, Unknown> {
    let batch = Batch::decode(bytes).map_err(|_| Unknown)?;
    let messages = batch.to_leader.into_iter().map_while(|message| {
        Some(MemberMessage {
            member: MemberId(message.member),
            epoch: Epoch(message.epoch),
            session: message.session,
            number: message.number,
            sent_at: MemberTime(Duration::from_micros(message.sent_at_us)),
            body: message.body?.read(now)?,
        })
    });
    Ok(messages.collect())
}

/// The messages to a member in these bytes, as in [`decode_to_leader`].
pub(super) fn decode_to_member(bytes: &[u8]) -> Result<Vec<ToMember>, Unknown> {
    let batch = Batch::decode(bytes).map_err(|_| Unknown)?;
    let messages = batch.to_member.into_iter().map_while(|message| {
        Some(LeaderMessage {
            epoch: Epoch(message.epoch),
            session: message.session,
            number: message.number,
            body: message.body?.read()?,
        })
    });
    Ok(messages.collect())
}

/// The bytes of a view.
pub(super) fn encode_view(view: &View) -> Vec<u8> {
    status::View::new(view).encode_to_vec()
}

/// The view in these bytes.
pub(super) fn decode_view(bytes: &[u8]) -> Result<View, Unknown> {
    let view = status::View::decode(bytes).map_err(|_| Unknown)?;
    Ok(view.read())
}

#[cfg(test)]
mod tests;
