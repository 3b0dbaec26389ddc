//! Messages to members and to the leader.

use bytes::Bytes;
use featherwire::cluster::{
    message::{Epoch, MemberId},
    redis::{ENTRIES_MAX, MESSAGE_BYTES_MAX, Mailbox, MailboxReader, ProblemKind, Redis},
};
use tokio::time::timeout;

use super::{campaign, connect, elect, key, let_pass};
use crate::support::{PATIENCE, poll, redis::RedisServer};

fn message(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn next(mailbox: &mut MailboxReader) -> Vec<Bytes> {
    timeout(PATIENCE, mailbox.next()).await.unwrap().unwrap()
}

/// The next `count` messages.
async fn take(mailbox: &mut MailboxReader, count: usize) -> Vec<Bytes> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(next(mailbox).await);
    }
    taken
}

/// The next messages after Redis was away.
async fn next_after_an_outage(mailbox: &mut MailboxReader) -> Vec<Bytes> {
    poll::find("a message", async || mailbox.next().await.ok()).await
}

#[tokio::test]
async fn messages_arrive_in_their_order_and_from_the_first() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let epoch = elect(&redis, 1).await;
    let count = 2 * ENTRIES_MAX + 500;
    let texts: Vec<_> = (0..count)
        .map(|number| message(&number.to_string()))
        .collect();
    let to_two = texts.iter().map(|text| (MemberId(2), text.clone()));
    let to_three = (MemberId(3), message("\0binary\r\n"));
    let all = [to_three.clone()].into_iter().chain(to_two).collect();
    assert!(redis.to_members(MemberId(1), epoch, all).await.unwrap());
    // It begins with what was sent before it was opened.
    let mut two = redis.mailbox(Mailbox::Member(MemberId(2)));
    assert_eq!(take(&mut two, count).await, texts);
    let mut three = redis.mailbox(Mailbox::Member(MemberId(3)));
    assert_eq!(next(&mut three).await, [to_three.1]);
    for text in &texts[..10] {
        redis.to_leader(epoch, text.clone()).await.unwrap();
    }
    let mut leader = redis.mailbox(Mailbox::Leader(epoch));
    assert_eq!(take(&mut leader, 10).await, texts[..10]);
    // Nothing more comes, until there is more.
    assert!(futures_util::poll!(std::pin::pin!(leader.next())).is_pending());
    redis.to_leader(epoch, message("more")).await.unwrap();
    assert_eq!(next(&mut leader).await, [message("more")]);
    // The streams expire.
    for stream in ["member:2", &format!("leader:{}", epoch.0)] {
        let ttl: i64 = server.command(&["PTTL", &key(stream)]).await;
        assert!(ttl > 0, "{stream}: {ttl}");
    }
}

#[tokio::test]
async fn a_leader_that_lost_its_lease_writes_nothing() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let first = elect(&redis, 1).await;
    let send = async |redis: &Redis, leader: u64, epoch: Epoch, text: &str| {
        let messages = vec![(MemberId(3), message(text))];
        redis
            .to_members(MemberId(leader), epoch, messages)
            .await
            .unwrap()
    };
    assert!(send(&redis, 1, first, "by the first").await);
    // Its lease has run out, and nobody has taken it yet.
    let_pass(&server, 3000).await;
    assert!(!send(&redis, 1, first, "too late").await);
    let second = elect(&redis, 2).await;
    assert!(!send(&redis, 1, first, "replaced").await);
    assert!(!send(&redis, 1, second, "another's epoch").await);
    assert!(!send(&redis, 2, first, "an earlier epoch").await);
    assert!(send(&redis, 2, second, "by the second").await);
    let () = server.command(&["FLUSHALL"]).await;
    assert!(!send(&redis, 2, second, "forgotten").await);
    let third = elect(&redis, 2).await;
    assert!(send(&redis, 2, third, "by the third").await);
    let mut mailbox = redis.mailbox(Mailbox::Member(MemberId(3)));
    assert_eq!(next(&mut mailbox).await, [message("by the third")]);
}

#[tokio::test]
async fn a_mailbox_goes_on_after_redis_was_killed() {
    let Some(mut server) = RedisServer::start_with(&["--appendonly", "yes"]).await else {
        return;
    };
    let redis = connect(&server).await;
    let epoch = elect(&redis, 1).await;
    let mut mailbox = redis.mailbox(Mailbox::Leader(epoch));
    redis.to_leader(epoch, message("before")).await.unwrap();
    assert_eq!(next(&mut mailbox).await, [message("before")]);
    server.kill().await;
    let problem = mailbox.next().await.unwrap_err();
    assert_eq!(problem.kind(), ProblemKind::Unreachable);
    let problem = redis.to_leader(epoch, message("lost")).await.unwrap_err();
    assert!(problem.kind().is_transient(), "{problem}");
    server.restart().await;
    // The first command after that opens the connection again.
    poll::until("the connection is back", async || {
        redis.to_leader(epoch, message("after")).await.is_ok()
    })
    .await;
    assert_eq!(next_after_an_outage(&mut mailbox).await, [message("after")]);
}

#[tokio::test]
async fn a_mailbox_finds_what_follows_after_redis_has_lost_everything() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let epoch = elect(&redis, 1).await;
    let mut mailbox = redis.mailbox(Mailbox::Leader(epoch));
    // The clock of the Redis was ahead.
    let stream = key(&format!("leader:{}", epoch.0));
    let ahead = format!("{}-5", u64::MAX / 2);
    let _: String = server
        .command(&["XADD", &stream, &ahead, "m", "early"])
        .await;
    assert_eq!(next(&mut mailbox).await, [message("early")]);
    server.kill().await;
    server.restart().await;
    poll::until("the connection is back", async || {
        redis.to_leader(epoch, message("after")).await.is_ok()
    })
    .await;
    assert_eq!(next_after_an_outage(&mut mailbox).await, [message("after")]);
}

#[tokio::test]
async fn a_caller_who_stops_waiting_loses_no_message_and_leaves_nothing_behind() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let epoch = elect(&redis, 1).await;
    let mut mailbox = redis.mailbox(Mailbox::Leader(epoch));
    for round in 0..50 {
        // The reader waits in Redis, and its caller stops waiting for it.
        for _ in 0..5 {
            assert!(futures_util::poll!(std::pin::pin!(mailbox.next())).is_pending());
            tokio::task::yield_now().await;
        }
        let text = message(&round.to_string());
        redis.to_leader(epoch, text.clone()).await.unwrap();
        assert_eq!(next(&mut mailbox).await, [text]);
    }
    let reads: String = server.command(&["INFO", "commandstats"]).await;
    let reads = reads.split_once("cmdstat_xread:calls=").unwrap().1;
    let reads: u32 = reads.split(',').next().unwrap().parse().unwrap();
    assert!(
        reads <= 110,
        "one read for each message, not one for each wait: {reads}"
    );
    assert_eq!(server.readers().await, 1);
    drop(mailbox);
    poll::until("its connection is closed", async || {
        server.readers().await == 0
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_too_long_is_not_sent() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let epoch = elect(&redis, 1).await;
    let long = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    let problem = redis.to_leader(epoch, long.clone()).await.unwrap_err();
    assert_eq!(problem.kind(), ProblemKind::TooLarge);
    let messages = vec![(MemberId(2), message("short")), (MemberId(2), long)];
    let problem = redis
        .to_members(MemberId(1), epoch, messages)
        .await
        .unwrap_err();
    assert_eq!(problem.kind(), ProblemKind::TooLarge);
    let exists: u64 = server.command(&["EXISTS", &key("member:2")]).await;
    assert_eq!(exists, 0);
    // The longest one is.
    let longest = Bytes::from(vec![7; MESSAGE_BYTES_MAX]);
    redis.to_leader(epoch, longest.clone()).await.unwrap();
    let mut mailbox = redis.mailbox(Mailbox::Leader(epoch));
    assert_eq!(next(&mut mailbox).await, [longest]);
    campaign(&redis, 1).await;
}
