//! Which account the lines of the log are about.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{emulator, upstream};
use crate::{
    configuration_file::folder,
    support::{
        Emulator, Scripted,
        program::{featherwire, line_with, started},
        prompt,
        redis::free_port,
        rest::post,
        scripted::{no_capacity, refused},
    },
};

/// How the messages of these lines begin.
const FEED: &str = "the account's concurrency feed is lost";
const UNITS: &str = "scheduling concurrency units";
const CIRCUIT: &str = "circuit opened";
const REFUSAL: &str = "upstream refused a request for lack of concurrency units";
const REDIS: &str = "the cluster's Redis does not answer";

/// A model of `main` that fails, and one for which it has no units.
const FAILING: &str = "main/failing";
const BUSY: &str = "main/busy";

/// A line: the beginning of its message, and its fields `capacity` and `account`.
type Line = (&'static str, Option<u64>, Option<String>);

/// The upstreams of the accounts `main`, which has eight units and no feed, and `second`, which has
/// four units.
struct Upstreams(Scripted, Emulator);

impl Upstreams {
    async fn start() -> Self {
        let main = upstream(no_capacity()).await;
        let refusal = refused(429, "concurrency_limit_exceeded", "");
        main.set_reply_for_model(Some((BUSY, refusal)));
        Self(main, emulator(4, 0.0).await)
    }

    /// The tables of the first `count` accounts.
    fn tables(&self, count: usize) -> String {
        let accounts = [("main", self.0.address), ("second", self.1.address)];
        let tables = accounts.iter().take(count).map(|(name, address)| {
            format!(
                "[[account]]\nname = '{name}'\nmodels = ['{name}/*']\n\
                 featherless_base_url = 'http://{address}/v1'\nfeatherless_api_key = 'any'\n"
            )
        });
        tables.collect()
    }
}

/// The lines that a gateway with the first `count` accounts must write, with a Redis that is away
/// and without one.
fn expected(count: usize, has_redis: bool) -> BTreeSet<Line> {
    let name = |account: &str| (count > 1).then(|| account.to_owned());
    let mut lines = BTreeSet::from([
        (FEED, None, name("main")),
        (UNITS, Some(8), name("main")),
        (CIRCUIT, None, name("main")),
        (REFUSAL, None, name("main")),
    ]);
    if count > 1 {
        lines.insert((UNITS, Some(4), name("second")));
    }
    if has_redis {
        let accounts = ["main", "second"].iter().take(count);
        lines.extend(accounts.map(|account| (REDIS, None, name(account))));
    }
    lines
}

/// Reads the log of a gateway with the first `count` accounts until it has all lines that are
/// expected. No other line may begin as one of them.
async fn check(count: usize, redis: Option<&str>) {
    let mut missing = expected(count, redis.is_some());
    let all = missing.clone();
    let upstreams = Upstreams::start().await;
    let folder = folder(upstreams.tables(count));
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--config", "fw.toml"]);
    command
        .args(["--log-format", "json"])
        .args(["--retries", "0", "--circuit-failures", "1"])
        .args(redis.map(|url| format!("--redis-url={url}")))
        .current_dir(&folder.0);
    let (_child, address, mut log) = started(command).await;
    let call = async |model: &str| {
        let body = prompt(model, "hi").to_string();
        let answer = post(format!("{address}/v1/chat/completions"), body).send();
        answer.await.unwrap();
    };
    let calls = async {
        call(FAILING).await;
        call(BUSY).await;
        std::future::pending().await
    };
    let lines = async {
        while !missing.is_empty() {
            let is_about = |line: &str| all.iter().any(|(message, ..)| line.contains(message));
            let text = line_with(&mut log, is_about).await;
            let line: Value = serde_json::from_str(&text).unwrap();
            let account = line["account"].as_str().map(str::to_owned);
            let is_it = |(message, capacity, named): &&Line| {
                text.contains(message)
                    && line["capacity"].as_u64() == *capacity
                    && account == *named
            };
            let known = all.iter().find(is_it);
            missing.remove(known.unwrap_or_else(|| panic!("{text}")));
        }
    };
    tokio::select! {
        () = lines => {}
        () = calls => {}
    }
}

#[tokio::test]
async fn a_line_about_an_account_names_it_if_there_are_several() {
    let away = format!("redis://127.0.0.1:{}", free_port().await);
    tokio::join!(
        check(1, None),
        check(2, None),
        check(1, Some(&away)),
        check(2, Some(&away)),
    );
}
