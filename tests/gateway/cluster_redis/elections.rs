//! Who leads, and who is a member.

use bytes::Bytes;
use featherwire::cluster::{
    message::{Epoch, MemberId},
    redis::{Candidate, LEASE, NOTE_BYTES_MAX, ProblemKind},
};

use super::{campaign, candidate, connect, elect, key, let_pass};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn one_of_three_leads_and_all_know_it() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let epoch = elect(&redis, 2).await;
    // Each has a connection of its own.
    for member in [1, 2, 3] {
        let redis = connect(&server).await;
        let standing = campaign(&redis, member).await;
        assert_eq!(standing.leader, Some((MemberId(2), epoch)));
        assert!(!standing.just_elected);
    }
    let standing = campaign(&redis, u64::MAX).await;
    let names = [1, 2, 3, u64::MAX]
        .map(|member| (MemberId(member), Bytes::from(format!("name of {member}"))));
    assert_eq!(standing.members, names);
}

#[tokio::test]
async fn many_candidates_at_once_elect_one() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let campaigns = (1..=20).map(|member| redis.campaign(candidate(member)));
    let standings = futures_util::future::join_all(campaigns).await;
    let standings: Vec<_> = standings.into_iter().map(Result::unwrap).collect();
    let elected = standings.iter().filter(|standing| standing.just_elected);
    assert_eq!(elected.count(), 1);
    let leader = standings[0].leader;
    assert!(leader.is_some() && standings.iter().all(|standing| standing.leader == leader));
}

#[tokio::test]
async fn a_leader_that_vanishes_is_replaced_and_forgotten_after_its_lease() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let first = elect(&redis, 1).await;
    let lease: u64 = LEASE.as_millis().try_into().unwrap();
    // Second after second, and only 2 campaigns.
    for _ in 0..lease / 1000 - 1 {
        let_pass(&server, 1000).await;
        let standing = campaign(&redis, 2).await;
        assert_eq!(standing.leader, Some((MemberId(1), first)));
        assert_eq!(standing.members.len(), 2);
        assert!(!standing.are_members_complete);
    }
    let_pass(&server, 1000).await;
    let standing = campaign(&redis, 2).await;
    let (leader, second) = standing.leader.unwrap();
    assert_eq!(leader, MemberId(2));
    assert!(standing.just_elected && standing.are_members_complete);
    assert!(second > first);
    let members: Vec<_> = standing.members.iter().map(|(member, _)| *member).collect();
    assert_eq!(members, [MemberId(2)]);
}

#[tokio::test]
async fn a_lease_also_expires_by_itself() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let first = elect(&redis, 1).await;
    let _: u64 = server.command(&["PEXPIRE", &key("lease"), "0"]).await;
    assert!(elect(&redis, 2).await > first);
    // Whatever the cluster leaves expires.
    let keys: Vec<String> = server.command(&["KEYS", "*"]).await;
    assert!(keys.len() >= 5, "{keys:?}");
    for key in keys {
        let ttl: i64 = server.command(&["PTTL", &key]).await;
        assert!(ttl > 0, "{key}: {ttl}");
    }
}

#[tokio::test]
async fn an_epoch_is_greater_than_all_that_redis_or_the_candidate_knows() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let first = elect(&redis, 1).await;
    let () = server.command(&["FLUSHALL"]).await;
    let with_known = |known: Epoch| Candidate {
        known_epoch: Some(known),
        ..candidate(1)
    };
    // The clock of this Redis is an hour behind that of the last one.
    let known = Epoch(first.0 + 3_600_000_000);
    let standing = redis.campaign(with_known(known)).await.unwrap();
    let (_, second) = standing.leader.unwrap();
    assert_eq!(second, Epoch(known.0 + 1));
    // Redis remembers it for a candidate that does not know it.
    redis.resign(MemberId(1)).await.unwrap();
    let third = elect(&redis, 2).await;
    assert_eq!(third, Epoch(second.0 + 1));
    // A leader with an earlier epoch than a member has seen does not count.
    let known = Epoch(third.0 + 10);
    let standing = redis.campaign(with_known(known)).await.unwrap();
    assert_eq!(
        standing.leader,
        Some((MemberId(1), Epoch(known.0 + 1))),
        "{standing:?}"
    );
}

#[tokio::test]
async fn a_clock_that_goes_back_ends_no_lease_and_forgets_nobody() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let first = elect(&redis, 1).await;
    campaign(&redis, 2).await;
    for _ in 0..3 {
        let_pass(&server, 1000).await;
        campaign(&redis, 1).await;
        campaign(&redis, 2).await;
    }
    assert!(campaign(&redis, 2).await.are_members_complete);
    let hour = 3_600_000_000_u64;
    // All that was written has a time an hour ahead.
    for (hash, field) in [("window", "from"), ("window", "last"), ("lease", "at")] {
        let value: u64 = server.command(&["HGET", &key(hash), field]).await;
        let ahead = (value + hour).to_string();
        let () = server.command(&["HSET", &key(hash), field, &ahead]).await;
    }
    for member in ["1", "2"] {
        let ahead = hour.to_string();
        let increase = ["ZINCRBY", &key("heard"), &ahead, member];
        let _: String = server.command(&increase).await;
    }
    let standing = campaign(&redis, 2).await;
    assert_eq!(standing.leader, Some((MemberId(1), first)));
    assert_eq!(standing.members.len(), 2);
    assert!(!standing.are_members_complete);
    // And what is silent now is forgotten as always.
    for _ in 0..3 {
        let_pass(&server, 1000).await;
        campaign(&redis, 2).await;
    }
    let standing = campaign(&redis, 2).await;
    assert_eq!(standing.members.len(), 1, "{standing:?}");
    assert_eq!(standing.leader.unwrap().0, MemberId(2));
}

#[tokio::test]
async fn an_empty_redis_does_not_know_all_members() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    elect(&redis, 1).await;
    for _ in 0..3 {
        let_pass(&server, 1000).await;
        campaign(&redis, 1).await;
    }
    assert!(campaign(&redis, 1).await.are_members_complete);
    let () = server.command(&["FLUSHALL"]).await;
    let standing = campaign(&redis, 2).await;
    assert!(standing.just_elected && !standing.are_members_complete);
    // Nobody could campaign for a while: Redis was away, and a silent member may be alive.
    for _ in 0..3 {
        let_pass(&server, 1000).await;
        campaign(&redis, 2).await;
    }
    campaign(&redis, 1).await;
    let_pass(&server, 60_000).await;
    let standing = campaign(&redis, 2).await;
    assert!(!standing.are_members_complete);
    assert_eq!(standing.members.len(), 2);
}

#[tokio::test]
async fn who_resigns_gives_the_lease_to_the_next_at_once() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    elect(&redis, 1).await;
    campaign(&redis, 2).await;
    redis.resign(MemberId(2)).await.unwrap();
    let standing = campaign(&redis, 3).await;
    assert_eq!(standing.leader.unwrap().0, MemberId(1));
    redis.resign(MemberId(1)).await.unwrap();
    elect(&redis, 3).await;
    assert_eq!(campaign(&redis, 3).await.members.len(), 1);
}

#[tokio::test]
async fn who_may_not_lead_does_not() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let modest = |member| Candidate {
        may_lead: false,
        ..candidate(member)
    };
    let standing = redis.campaign(modest(1)).await.unwrap();
    assert_eq!((standing.leader, standing.just_elected), (None, false));
    assert_eq!(standing.members.len(), 1);
    elect(&redis, 1).await;
    let standing = redis.campaign(modest(1)).await.unwrap();
    assert_eq!(standing.leader, None);
    elect(&redis, 2).await;
}

#[tokio::test]
async fn only_the_leader_sets_the_view() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let with_view = |member, view: &'static [u8]| Candidate {
        view: Some(Bytes::from_static(view)),
        ..candidate(member)
    };
    let standing = redis.campaign(with_view(1, b"\0one\xff")).await.unwrap();
    assert_eq!(standing.view, None);
    let standing = redis.campaign(with_view(2, b"two")).await.unwrap();
    assert_eq!(standing.view.as_deref(), Some(&b"\0one\xff"[..]));
    assert_eq!(campaign(&redis, 1).await.view, None);
    redis.resign(MemberId(1)).await.unwrap();
    let standing = redis.campaign(with_view(2, b"two")).await.unwrap();
    assert!(standing.just_elected && standing.view.as_deref() == Some(b"\0one\xff"));
    assert_eq!(campaign(&redis, 3).await.view.as_deref(), Some(&b"two"[..]));
    let long = Candidate {
        note: Bytes::from(vec![b'a'; NOTE_BYTES_MAX + 1]),
        ..candidate(4)
    };
    let problem = redis.campaign(long).await.unwrap_err();
    assert_eq!(problem.kind(), ProblemKind::TooLarge);
}
