//! The limits for a minute of keys, which several gateways share.

use std::time::Duration;

use featherwire::cluster::redis::{AHEAD_MAX_NS, Advance, ProblemKind};
use serde_json::{Value, json};
use tokio::process::Child;

use super::{SPACE, connect, key};
use crate::{
    key_limits::{json_of, post},
    keys::{serve, text},
    support::{Database, MODEL, poll, prompt, redis::RedisServer, rest::http},
};

const SECOND_NS: u64 = 1_000_000_000;

/// The name of a key in Redis with what gateways share of their keys.
fn shared(name: &str) -> String {
    format!("featherwire:{{keys:{SPACE}}}:{name}")
}

/// Two gateways in processes of their own, which share a database and a Redis.
struct Pair {
    addresses: [String; 2],
    /// The secret of the key, and its id.
    secret: String,
    id: String,
    _gateways: [Child; 2],
    _database: Database,
}

impl Pair {
    /// With a key that has these limits.
    async fn start(server: &RedisServer, limits: &[&str]) -> Self {
        let database = Database::sqlite();
        let create = ["create", "--name", "app"];
        let create: Vec<_> = create.iter().chain(limits).copied().collect();
        let created = database.keys_json(&create).await;
        let warm = [
            "create",
            "--name",
            "warm",
            "--requests-per-minute",
            "100000",
        ];
        let warm = database.keys_json(&warm).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let more = [
            ("FEATHERWIRE_REDIS_URL", url.as_str()),
            ("FEATHERWIRE_CLUSTER_NAME", SPACE),
        ];
        let (first, second) = tokio::join!(serve(&database, &more), serve(&database, &more));
        let pair = Self {
            addresses: [first.1, second.1],
            secret: text(&created, "secret").to_owned(),
            id: text(&created, "id").to_owned(),
            _gateways: [first.0, second.0],
            _database: database,
        };
        for address in &pair.addresses {
            pair.until_shared(server, address, &warm).await;
        }
        pair
    }

    /// Waits until Redis decides the calls of this gateway.
    async fn until_shared(&self, server: &RedisServer, address: &str, warm: &Value) {
        let rate = shared(&format!("rate:{}:requests", text(warm, "id")));
        poll::until("Redis decides", async || {
            let _: u64 = server.command(&["DEL", &rate]).await;
            let answer = post(address, text(warm, "secret"), prompt(MODEL, "hi"), &[]).await;
            assert_eq!(answer.status(), 200);
            server.command(&["EXISTS", &rate]).await
        })
        .await;
    }

    /// A call at one of the gateways: its status.
    async fn call(&self, gateway: usize, body: Value) -> u16 {
        let answer = post(&self.addresses[gateway], &self.secret, body, &[]).await;
        let (status, body) = json_of(answer).await;
        if status != 200 {
            assert_eq!(text(&body["error"], "code"), "rate_limit_exceeded");
        }
        status
    }

    /// How many of these calls pass, made at both in turn.
    async fn passed(&self, calls: usize) -> usize {
        let mut passed = 0;
        for number in 0..calls {
            passed += usize::from(self.call(number % 2, prompt(MODEL, "hi")).await == 200);
        }
        passed
    }
}

#[tokio::test]
async fn calls_at_two_gateways_count_for_one_limit() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    // One more passes every 15 seconds.
    let pair = Pair::start(&server, &["--requests-per-minute", "4"]).await;
    assert_eq!(pair.passed(10).await, 4);
    // The headers tell what is left of the limit that is shared.
    let refused = post(&pair.addresses[0], &pair.secret, prompt(MODEL, "hi"), &[]).await;
    assert_eq!(refused.headers()["x-ratelimit-limit-requests"], "4");
    assert_eq!(refused.headers()["x-ratelimit-remaining-requests"], "0");
    for address in &pair.addresses {
        let get = http().get(format!("{address}/v1/key"));
        let (status, own) = json_of(get.bearer_auth(&pair.secret).send().await.unwrap()).await;
        let minute = &own["requestsPerMinute"];
        assert_eq!((status, text(minute, "limit")), (200, "4"), "{own}");
        assert_eq!(text(minute, "left"), "0", "{own}");
    }
}

#[tokio::test]
async fn callers_at_two_gateways_who_race_get_no_more_than_the_limit() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let pair = Pair::start(&server, &["--requests-per-minute", "6"]).await;
    let calls = (0..40).map(|number| pair.call(number % 2, prompt(MODEL, "hi")));
    let statuses = futures_util::future::join_all(calls).await;
    let passed = statuses.iter().filter(|status| **status == 200).count();
    // One more passes every 10 seconds.
    assert!((6..=7).contains(&passed), "{passed}");
}

#[tokio::test]
async fn tokens_that_a_call_has_not_used_are_free_at_the_other_gateway() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let pair = Pair::start(&server, &["--tokens-per-minute", "1000"]).await;
    let long = || {
        let mut body = prompt(MODEL, "hi");
        body["max_tokens"] = json!(600);
        body
    };
    let began: (u64, u64) = server.command(&["TIME"]).await;
    let began_us = began.0 * 1_000_000 + began.1;
    assert_eq!(pair.call(0, long()).await, 200);
    let rate = shared(&format!("rate:{}:tokens", pair.id));
    poll::until("what was not used is free", async || {
        let values = server.command(&["HMGET", &rate, "ahead", "at"]).await;
        let (ahead_ns, at_us): (u64, u64) = values;
        // With the time alone, this stays at 36 s.
        ahead_ns + (at_us - began_us) * 1000 < 20 * SECOND_NS
    })
    .await;
    assert_eq!(pair.call(1, long()).await, 200);
}

#[tokio::test]
async fn while_redis_is_away_each_gateway_allows_its_share_and_tells_later() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let pair = Pair::start(&server, &["--requests-per-minute", "4"]).await;
    // When each was heard last.
    let heard = async || -> Vec<f64> {
        let range = ["ZRANGE", &shared("heard"), "0", "-1", "WITHSCORES"];
        let heard: Vec<(String, f64)> = server.command(&range).await;
        heard.into_iter().map(|(_, at)| at).collect()
    };
    let newest = async || heard().await.into_iter().fold(0.0, f64::max);
    poll::until("both are there", async || heard().await.len() == 2).await;
    // The first time they are told how many they are. The second time they know it.
    for _ in 0..2 {
        let before = newest().await;
        poll::until("both are heard again", async || {
            heard().await.iter().all(|at| *at > before)
        })
        .await;
    }
    server.kill().await;
    for gateway in [0, 1] {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(pair.call(gateway, prompt(MODEL, "hi")).await);
        }
        assert_eq!(statuses, [200, 200, 429, 429], "{gateway}");
        // It names the whole limit, and its share of it.
        let prompt = prompt(MODEL, "hi");
        let refused = post(&pair.addresses[gateway], &pair.secret, prompt, &[]).await;
        assert_eq!(refused.headers()["x-ratelimit-limit-requests"], "4");
        assert_eq!(refused.headers()["x-ratelimit-remaining-requests"], "0");
        let (_, body) = json_of(refused).await;
        let says = text(&body["error"], "message");
        let words = "limit of 4 calls in a minute, of which this gateway allows 2 now, is reached";
        assert!(says.contains(words), "{says}");
        let get = http().get(format!("{}/v1/key", pair.addresses[gateway]));
        let (_, own) = json_of(get.bearer_auth(&pair.secret).send().await.unwrap()).await;
        assert_eq!(text(&own["requestsPerMinute"], "limit"), "4", "{own}");
    }
    server.restart().await;
    // It knows nothing of the members any more, and learns what was used without it.
    let rate = shared(&format!("rate:{}:requests", pair.id));
    poll::until("both have told what was used", async || {
        let ahead: Option<u64> = server.command(&["HGET", &rate, "ahead"]).await;
        ahead.is_some_and(|ahead| ahead > 45 * SECOND_NS)
    })
    .await;
    let passed = pair.passed(4).await;
    assert!(passed <= 1, "{passed}: one more passes every 15 seconds");
}

#[tokio::test]
async fn a_time_moves_by_the_clock_of_redis_and_never_too_far() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = connect(&server).await;
    let minute = 60 * SECOND_NS;
    let advance = async |part: u64| redis.advance("a", part, minute).await.unwrap();
    let first = advance(40 * SECOND_NS).await;
    let (fits, ahead_ns) = (true, 40 * SECOND_NS);
    assert_eq!(first, Advance { fits, ahead_ns });
    let refused = advance(40 * SECOND_NS).await;
    assert!(!refused.fits && refused.ahead_ns <= ahead_ns);
    assert!(advance(20 * SECOND_NS).await.fits);
    // As if half a minute had passed.
    let rate = key("rate:a");
    let at: u64 = server.command(&["HGET", &rate, "at"]).await;
    let earlier = (at - 30_000_000).to_string();
    let _: u64 = server.command(&["HSET", &rate, "at", &earlier]).await;
    let later = advance(SECOND_NS).await;
    assert!(later.fits && later.ahead_ns <= 31 * SECOND_NS, "{later:?}");
    // The clock goes back by an hour: nothing is lost, and nothing stands still after it.
    let ahead = (at + 3_600_000_000).to_string();
    let _: u64 = server.command(&["HSET", &rate, "at", &ahead]).await;
    let after = advance(0).await;
    assert_eq!(after.ahead_ns, later.ahead_ns);
    let now: u64 = server.command(&["HGET", &rate, "at"]).await;
    assert!(now < at + 60_000_000);
    // Corrections go up to a day and down to nothing.
    let correct = async |by: i64| {
        let corrections = [("a".to_owned(), by), ("b".to_owned(), by)];
        redis.correct(&corrections).await.unwrap();
    };
    correct(i64::MAX).await;
    assert_eq!(
        advance(0).await.ahead_ns / SECOND_NS,
        AHEAD_MAX_NS / SECOND_NS - 1
    );
    let ttl: u64 = server.command(&["PTTL", &rate]).await;
    assert!(Duration::from_millis(ttl) <= Duration::from_nanos(AHEAD_MAX_NS + 2 * SECOND_NS));
    correct(i64::MIN).await;
    let whole = advance(minute).await;
    assert!(whole.fits && whole.ahead_ns == minute);
    drop(server);
    let away = redis.advance("a", 1, minute).await.unwrap_err();
    assert_eq!(away.kind(), ProblemKind::Unreachable);
}
