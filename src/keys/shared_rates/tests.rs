//! A scripted Redis on a socket, whose answers the tests give when they want.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use uuid::Uuid;

use super::*;
use crate::{
    cluster::redis::{AHEAD_MAX_NS, CORRECTIONS_MAX},
    config::RedisUrl,
    error::RateUnit,
    keys::{Identity, Role, identity::Record, limits::Limits, spending_news::SpendingNews},
};

const SECOND_NS: i64 = 1_000_000_000;

/// What a script does, and what it is given.
#[derive(Debug, PartialEq, Eq)]
enum Script {
    Campaign,
    Resign,
    /// By how much.
    Advance(i64),
    /// By how much, sorted.
    Correct(Vec<i64>),
}

/// A script that waits for its answer. Dropping it closes the connection.
struct Asked {
    script: Script,
    answer: oneshot::Sender<String>,
}

impl Asked {
    fn answer(self, answer: &str) {
        self.answer.send(answer.to_owned()).unwrap();
    }

    /// The answer of `advance`.
    fn fits(self, fits: bool) {
        self.answer(&format!("*2\r\n:{}\r\n$1\r\n0\r\n", u8::from(fits)));
    }

    /// The answer of scripts that return nothing.
    fn done(self) {
        self.answer("$-1\r\n");
    }

    /// The answer of `campaign`, with this number of members.
    fn members(self, number: usize) {
        let members: String = (0..number)
            .map(|member| format!("$1\r\n{member}\r\n$0\r\n\r\n"))
            .collect();
        let start = "*8\r\n$0\r\n\r\n$0\r\n\r\n:0\r\n:1\r\n";
        self.answer(&format!(
            "{start}*{}\r\n{members}*0\r\n$1\r\n0\r\n$-1\r\n",
            number * 2
        ));
    }
}

struct Scripted {
    redis: Redis,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Scripted {
    /// With a connection that is open already, so that the time for that is not a call's.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let url: RedisUrl = url.parse().unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (caller, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(caller, sender.clone()));
            }
        });
        let redis = Redis::new(&url, "test");
        let mut scripted = Self { redis, asked };
        let redis = scripted.redis.clone();
        let first = async { scripted.next().await.done() };
        let (corrected, ()) = tokio::join!(redis.correct(&[]), first);
        corrected.unwrap();
        scripted
    }

    async fn next(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }

    /// Answers this number of campaigns, and one more script of each other kind. Returns the others.
    async fn until_campaigns(&mut self, mut number: usize) -> Vec<Script> {
        let mut others = Vec::new();
        while number > 0 {
            let mut asked = self.next().await;
            if asked.script == Script::Campaign {
                number -= 1;
                asked.members(2);
            } else {
                others.push(std::mem::replace(&mut asked.script, Script::Resign));
                asked.done();
            }
        }
        others
    }
}

/// Answers what opens a connection, and passes on what scripts are asked.
async fn serve(caller: TcpStream, asked: mpsc::UnboundedSender<Asked>) {
    let mut caller = BufReader::new(caller);
    while let Some(words) = words(&mut caller).await {
        let answer = match words[0].as_str() {
            "INFO" => "$19\r\nredis_version:7.0.0\r\n".to_owned(),
            "EVALSHA" => {
                let (answer, answered) = oneshot::channel();
                let script = script(&words);
                if asked.send(Asked { script, answer }).is_err() {
                    return;
                }
                match answered.await {
                    Ok(answer) => answer,
                    Err(_) => return,
                }
            }
            _ => "+OK\r\n".to_owned(),
        };
        if caller.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The words of a command. `None` at the end.
async fn words(caller: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let number = line(caller).await?;
    let mut words = Vec::new();
    for _ in 0..number {
        let length = line(caller).await?;
        let mut word = vec![0; length + 2];
        caller.read_exact(&mut word).await.ok()?;
        word.truncate(length);
        words.push(String::from_utf8(word).unwrap());
    }
    Some(words)
}

/// The number in a line after its first character.
async fn line(caller: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    caller.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}

fn script(words: &[String]) -> Script {
    let keys: usize = words[2].parse().unwrap();
    let arguments = &words[3 + keys..];
    match keys {
        7 => Script::Campaign,
        4 => Script::Resign,
        _ if arguments[0] == AHEAD_MAX_NS.to_string() => {
            let by = arguments[1..].iter().map(|text| text.parse().unwrap());
            let mut by: Vec<i64> = by.collect();
            by.sort_unstable();
            Script::Correct(by)
        }
        _ => Script::Advance(arguments[0].parse().unwrap()),
    }
}

fn name() -> Name {
    Name {
        key: Uuid::now_v7(),
        of: RateUnit::Requests,
    }
}

/// Limits that are not shared, because no Redis is asked.
fn away(gateways: u64) -> SharedRates {
    let url = "redis://127.0.0.1:1".parse().unwrap();
    let rates = SharedRates::new(Redis::new(&url, "test"));
    rates.0.gateways.store(gateways, Ordering::Relaxed);
    rates
}

/// A call that has asked a Redis for one of four calls in a minute.
async fn asked(redis: &mut Scripted, rates: &SharedRates, name: Name, leaves: bool) -> Asked {
    let rate = Rate::new();
    let mut take = pin!(rates.take(&rate, name, 4, 1, Instant::now()));
    let polled = poll_fn(|context| Poll::Ready(take.as_mut().poll(context)));
    assert!(polled.await.is_pending());
    let asked = redis.next().await;
    assert_eq!(asked.script, Script::Advance(15 * SECOND_NS));
    if !leaves {
        // It waits for 100 ms, and decides by the gateway's share.
        let state = take.await.unwrap();
        assert_eq!((state.limit, state.share, state.remaining), (4, Some(2), 1));
    }
    asked
}

async fn shared() -> (Scripted, SharedRates) {
    let redis = Scripted::start().await;
    let rates = SharedRates::new(redis.redis.clone());
    rates.0.gateways.store(2, Ordering::Relaxed);
    rates.set_there();
    (redis, rates)
}

#[tokio::test]
async fn a_call_whose_answer_is_late_counts_once() {
    for (fits, corrections) in [(true, vec![]), (false, vec![15 * SECOND_NS])] {
        let (mut redis, rates) = shared().await;
        let asked = asked(&mut redis, &rates, name(), false).await;
        assert!(!rates.is_there(), "calls ask no more");
        assert!(!rates.0.is_logged_there.load(Ordering::Relaxed));
        let run = tokio::spawn(rates.clone().run());
        asked.fits(fits);
        let told = redis.until_campaigns(3).await;
        let expected: Vec<_> = corrections
            .into_iter()
            .map(|by| Script::Correct(vec![by]))
            .collect();
        assert_eq!(told, expected, "{fits}");
        assert!(rates.is_there() && rates.0.is_logged_there.load(Ordering::Relaxed));
        run.abort();
    }
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_answer_gets_back_what_redis_has_counted_and_no_more() {
    for fits in [true, false] {
        let (mut redis, rates) = shared().await;
        let asked = asked(&mut redis, &rates, name(), true).await;
        let run = tokio::spawn(rates.clone().run());
        asked.fits(fits);
        let told = redis.until_campaigns(3).await;
        match told.as_slice() {
            [Script::Correct(by)] if fits => {
                // What has come back with the time is not given back again.
                assert!(by[0] > -15 * SECOND_NS && by[0] < 0, "{by:?}");
            }
            told => assert!(told.is_empty() && !fits, "{told:?}"),
        }
        run.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn redis_is_watched_again_while_corrections_come_all_the_time() {
    let (rates, name) = (away(1), name());
    let corrections = async {
        loop {
            rates.0.corrections.add(name, 1);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let until = TokioInstant::now() + WATCH_INTERVAL;
    tokio::select! {
        () = rates.correct_until(until) => {}
        () = corrections => unreachable!("they have no end"),
        () = sleep(WATCH_INTERVAL * 10) => panic!("it corrects for ever"),
    }
}

#[tokio::test]
async fn corrections_that_redis_may_have_are_sent_again_only_if_they_limit_more() {
    let mut redis = Scripted::start().await;
    let corrections = Corrections::new(redis.redis.clone());
    let send = async |redis: &mut Scripted, answer: Option<&str>| {
        let answered = async {
            let asked = redis.next().await;
            let Script::Correct(by) = &asked.script else {
                panic!("{:?}", asked.script);
            };
            let by = by.clone();
            if let Some(answer) = answer {
                asked.answer(answer);
            }
            by
        };
        let (sent, by) = tokio::join!(corrections.send(), answered);
        (sent.is_ok(), by)
    };
    corrections.add(name(), 5);
    corrections.add(name(), -7);
    // Redis has no memory: it has not done it.
    let refused = send(&mut redis, Some("-OOM no memory\r\n")).await;
    assert_eq!(refused, (false, vec![-7, 5]));
    // The connection breaks.
    assert_eq!(send(&mut redis, None).await, (false, vec![-7, 5]));
    let done = Some("$-1\r\n");
    assert_eq!(send(&mut redis, done).await, (true, vec![5]));
    corrections.send().await.unwrap();
}

#[tokio::test]
async fn corrections_that_redis_has_are_not_sent_again_after_an_error_of_later_ones() {
    let mut redis = Scripted::start().await;
    let corrections = Corrections::new(redis.redis.clone());
    for _ in 0..=CORRECTIONS_MAX {
        corrections.add(name(), 1);
    }
    let answers = async {
        let first = redis.next().await;
        assert_eq!(first.script, Script::Correct(vec![1; CORRECTIONS_MAX]));
        first.done();
        drop(redis.next().await);
    };
    let (sent, ()) = tokio::join!(corrections.send(), answers);
    assert!(sent.is_err());
    let answers = async {
        let rest = redis.next().await;
        assert_eq!(rest.script, Script::Correct(vec![1]));
        rest.done();
    };
    let (sent, ()) = tokio::join!(corrections.send(), answers);
    sent.unwrap();
}

#[tokio::test]
async fn at_the_end_the_corrections_on_their_way_are_neither_lost_nor_sent_twice() {
    for is_answered in [true, false] {
        let ((mut redis, rates), name) = (shared().await, name());
        rates.0.corrections.add(name, 5);
        let run = tokio::spawn(rates.clone().run());
        redis.next().await.members(2);
        let asked = redis.next().await;
        assert_eq!(asked.script, Script::Correct(vec![5]));
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        let answers = async {
            if is_answered {
                asked.done();
                let last = redis.next().await;
                assert_eq!(last.script, Script::Resign);
                last.done();
            } else {
                drop(asked);
            }
        };
        let (ended, ()) = tokio::join!(rates.end(), answers);
        assert_eq!(ended.is_ok(), is_answered);
        // Nobody knows whether Redis has it, so another attempt would send it again.
        let left = if is_answered { 0 } else { 5 };
        assert_eq!(rates.0.corrections.of(name), left);
    }
}

/// A key with a limit of 10,000 tokens in a minute, and the name of that limit.
fn key(rates: &SharedRates) -> (Identity, Name) {
    let id = Uuid::now_v7();
    let sharing = Sharing::default();
    sharing.set(rates.clone()).unwrap();
    let limits = Limits {
        tokens_per_minute: Some(10_000),
        ..Limits::default()
    };
    let record = Record::new(7, id, SpendingNews::default(), sharing);
    let of = RateUnit::Tokens;
    let identity = Identity::stored(id, "app".into(), Role::Inference, limits, None, record);
    (identity, Name { key: id, of })
}

#[tokio::test]
async fn without_redis_a_call_that_is_larger_than_the_share_costs_what_it_has_used() {
    let rates = away(8);
    let (key, name) = key(&rates);
    let now = Instant::now();
    let take = async |amount, now| {
        key.take_of_a_minute(RateUnit::Tokens, 10_000, amount, now)
            .await
    };
    let counted = || rates.0.corrections.of(name);
    let large = take(8000, now).await.unwrap();
    assert_eq!(
        (large.limit, large.share, large.remaining),
        (10_000, Some(1250), 0)
    );
    assert_eq!(counted(), 48 * SECOND_NS);
    key.settle_tokens(large, 8000, 8000, Duration::ZERO);
    assert_eq!(counted(), 48 * SECOND_NS);
    // 8000 tokens are 6.4 minutes of the share.
    let refused = take(1, now).await.unwrap_err();
    assert!(refused.retry_after > Duration::from_secs(5 * 60 + 20));
    let error = key.too_many_tokens(refused);
    let words =
        "The limit of 10000 tokens in a minute, of which this gateway allows 1250 now, has 0 left";
    assert!(error.message().starts_with(words), "{error}");
    let again = now + Duration::from_secs(6 * 60 + 24);
    let large = take(8000, again).await.unwrap();
    // It has used a tenth of its share. Nine tenths are free, and no more.
    key.settle_tokens(large, 8000, 125, Duration::ZERO);
    assert_eq!(counted(), 48 * SECOND_NS + SECOND_NS * 3 / 4);
    assert_eq!(take(1125, again).await.unwrap().remaining, 0);
}

#[tokio::test]
async fn without_redis_a_call_gives_back_no_more_than_the_share_that_it_was_counted_as() {
    let rates = away(8);
    let (key, _) = key(&rates);
    let now = Instant::now();
    let minute = Duration::from_secs(60);
    let take = async |amount, now| {
        key.take_of_a_minute(RateUnit::Tokens, 10_000, amount, now)
            .await
    };
    let large = take(8000, now).await.unwrap();
    // What the first call has taken has come back with the time, and a second call has taken it.
    take(1250, now + minute).await.unwrap();
    key.settle_tokens(large, 8000, 0, minute);
    assert!(take(1, now + minute).await.is_err());
}
