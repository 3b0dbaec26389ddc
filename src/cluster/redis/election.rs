//! Who leads, and who is a member.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;

use super::{
    super::message::{Epoch, MemberId},
    link::Link,
    names::Names,
    problem::{Problem, ProblemKind},
    script::Script,
};

/// For how long a leader leads after its last renewal, and a member is one after its last campaign.
/// Both by the clock of Redis.
pub const LEASE: Duration = Duration::from_secs(3);

/// The largest size of what a member tells all, in bytes.
pub const NOTE_BYTES_MAX: usize = 4 * 1024;

/// The largest size of what the leader tells all, in bytes.
pub const VIEW_BYTES_MAX: usize = 1024 * 1024;

/// The longest time between two campaigns, of any members, after which it is still certain that each
/// living member was heard within [`LEASE`]: they campaign once a second.
const GAP_MAX: Duration = Duration::from_millis(1500);

/// For how long Redis keeps what the leader told all.
const VIEW_TTL: Duration = Duration::from_secs(10);

/// For how long Redis keeps the members that have left, after the last of them, and how many.
const LEFT_TTL: Duration = Duration::from_secs(60);
const LEFT_MAX: usize = 100;

/// For how long Redis keeps the members without a campaign.
const MEMBERS_TTL: Duration = Duration::from_secs(60 * 60);

/// For how long Redis keeps the last epoch without an election. Later, the time is greater.
const EPOCH_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

static CAMPAIGN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/campaign.lua")));

static RESIGN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/resign.lua")));

/// A member that takes part in the election.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which one.
    pub member: MemberId,
    /// The last epoch that it knows. A leader with an earlier epoch no longer counts: Redis has
    /// lost a later one.
    pub known_epoch: Option<Epoch>,
    /// Whether it can lead. If not, it gives its lease back.
    pub may_lead: bool,
    /// What it tells all, such as its name. At most [`NOTE_BYTES_MAX`].
    pub note: Bytes,
    /// What it tells all if it leads. At most [`VIEW_BYTES_MAX`].
    pub view: Option<Bytes>,
}

/// The result of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who leads.
    pub leader: Option<(MemberId, Epoch)>,
    /// Whether the candidate leads since this campaign.
    pub just_elected: bool,
    /// The members that were heard within [`LEASE`], by their ids, and what they tell. The
    /// candidate is one of them.
    pub members: Vec<(MemberId, Bytes)>,
    /// Whether these are all living members. `false` after Redis has been empty or away, or its
    /// clock has jumped: then some may not have been heard again yet.
    pub are_members_complete: bool,
    /// The members that have left in the last minute. The others that are gone have fallen silent.
    pub left: Vec<MemberId>,
    /// The time of the clock of Redis, since 1970.
    pub clock: Duration,
    /// What the leader tells all. To a candidate that has just been elected: what the last leader
    /// told. `None` to the leader itself.
    pub view: Option<Bytes>,
}

pub(super) async fn campaign(
    link: &Link,
    names: &Names,
    candidate: Candidate,
) -> Result<Standing, Problem> {
    let Candidate {
        member,
        known_epoch,
        may_lead,
        note,
        view,
    } = candidate;
    let too_large = |what: &str| Err(Problem::new(link.url(), ProblemKind::TooLarge, what));
    if note.len() > NOTE_BYTES_MAX {
        return too_large("what the member tells all is too long");
    }
    if view
        .as_ref()
        .is_some_and(|view| view.len() > VIEW_BYTES_MAX)
    {
        return too_large("what the leader tells all is too long");
    }
    let keys = [
        names.lease.as_str(),
        &names.last_epoch,
        &names.heard,
        &names.notes,
        &names.window,
        &names.view,
        &names.left,
    ];
    let member_text = member.0.to_string();
    let known = known_epoch.map_or_else(String::new, |epoch| epoch.0.to_string());
    let times = [LEASE, GAP_MAX, VIEW_TTL, MEMBERS_TTL, EPOCH_TTL];
    let times = times.map(|time| time.as_millis().to_string());
    let switch = |is_on: bool| if is_on { &b"1"[..] } else { b"" };
    let mut arguments: Vec<&[u8]> = vec![
        member_text.as_bytes(),
        known.as_bytes(),
        switch(may_lead),
        &note,
        switch(view.is_some()),
        view.as_deref().unwrap_or_default(),
    ];
    arguments.extend(times.iter().map(String::as_bytes));
    let (leader, epoch, elected, complete, notes, left, clock, view): Answer =
        CAMPAIGN.run(link, &keys, &arguments).await?;
    let unexpected = || Problem::new(link.url(), ProblemKind::Other, "its answer is unexpected");
    let leader = match leader.is_empty() {
        true => None,
        false => Some((
            MemberId(leader.parse().map_err(|_| unexpected())?),
            Epoch(epoch.parse().map_err(|_| unexpected())?),
        )),
    };
    let mut members = Vec::with_capacity(notes.len());
    for (member, note) in notes {
        let member = member.parse().map_err(|_| unexpected())?;
        members.push((MemberId(member), note));
    }
    members.sort_unstable_by_key(|(member, _)| *member);
    let left = left.iter().map(|member| member.parse().map(MemberId));
    Ok(Standing {
        left: left.collect::<Result<_, _>>().map_err(|_| unexpected())?,
        leader,
        just_elected: elected,
        members,
        are_members_complete: complete,
        clock: Duration::from_micros(clock),
        view,
    })
}

/// The leader, its epoch, whether it was just elected, whether the members are complete, the members
/// with their notes, those that have left, the time in microseconds, and the view.
type Answer = (
    String,
    String,
    bool,
    bool,
    Vec<(String, Bytes)>,
    Vec<String>,
    u64,
    Option<Bytes>,
);

pub(super) async fn resign(link: &Link, names: &Names, member: MemberId) -> Result<(), Problem> {
    let keys = [
        names.lease.as_str(),
        &names.heard,
        &names.notes,
        &names.left,
    ];
    let arguments = [
        member.0.to_string(),
        LEFT_TTL.as_millis().to_string(),
        LEFT_MAX.to_string(),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_bytes).collect();
    RESIGN.run(link, &keys, &arguments).await
}
