//! Elections and messages through a real Redis. They run only in `tests/redis/run`, which has one.

mod circuits;
mod elections;
mod limits;
mod lines;
mod messages;
mod servers;

use bytes::Bytes;
use featherwire::cluster::{
    message::{Epoch, MemberId},
    redis::{Candidate, Redis, Standing},
};

use crate::support::redis::RedisServer;

/// The cluster of these tests.
const SPACE: &str = "test";

fn candidate(member: u64) -> Candidate {
    Candidate {
        member: MemberId(member),
        known_epoch: None,
        may_lead: true,
        note: Bytes::from(format!("name of {member}")),
        view: None,
    }
}

async fn connect(server: &RedisServer) -> Redis {
    Redis::connect(&server.url(), SPACE).await.unwrap()
}

async fn campaign(redis: &Redis, member: u64) -> Standing {
    redis.campaign(candidate(member)).await.unwrap()
}

/// Elects a member, and returns its epoch.
async fn elect(redis: &Redis, member: u64) -> Epoch {
    let standing = campaign(redis, member).await;
    let (leader, epoch) = standing.leader.unwrap();
    assert_eq!((leader, standing.just_elected), (MemberId(member), true));
    epoch
}

/// The name of a key in Redis.
fn key(name: &str) -> String {
    format!("featherwire:{{{SPACE}}}:{name}")
}

/// As if this time had passed: what was done was done earlier.
async fn let_pass(server: &RedisServer, milliseconds: u64) {
    let back = milliseconds * 1000;
    let earlier = |text: &str| (text.parse::<u64>().unwrap() - back).to_string();
    let (window, lease, heard) = (key("window"), key("lease"), key("heard"));
    for (hash, field) in [(&window, "from"), (&window, "last"), (&lease, "at")] {
        let value: Option<String> = server.command(&["HGET", hash, field]).await;
        if let Some(value) = value {
            let () = server
                .command(&["HSET", hash, field, &earlier(&value)])
                .await;
        }
    }
    let members: Vec<String> = server.command(&["ZRANGE", &heard, "0", "-1"]).await;
    for member in members {
        let back = format!("-{back}");
        let _: String = server.command(&["ZINCRBY", &heard, &back, &member]).await;
    }
}
