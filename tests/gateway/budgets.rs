//! The tokens and the budgets of a gateway key: no call gets more than is left, and each call is
//! charged once for what it has used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use featherwire::proto::v1::chat_service_client::ChatServiceClient;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    key_limits::{channel, json_of, post, with_key, with_secret},
    keys::{end, serve, text},
    support::{
        Database, Gateway, MODEL, Reply, Scripted,
        door::message,
        poll, prompt,
        rest::{Events, http, with_json},
        scripted::{chunk, finish},
    },
};

/// A prompt whose answer has at most this number of tokens.
pub fn at_most(tokens: u64) -> Value {
    let mut request = prompt(MODEL, "hi");
    request["max_tokens"] = tokens.into();
    request
}

fn header(answer: &reqwest::Response, name: &str) -> Option<String> {
    let value = answer.headers().get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

/// The number of tokens that a call for many may have.
async fn max_tokens(address: &str, secret: &str) -> u64 {
    let answer = post(address, secret, at_most(100_000), &[]).await;
    assert_eq!(answer.status(), 200);
    let granted = header(&answer, "x-featherwire-max-tokens").unwrap();
    granted.parse().unwrap()
}

/// The first answer that is none. A call uses at least 9 tokens.
async fn until_refused(address: &str, secret: &str, request: Value) -> reqwest::Response {
    for _ in 0..3000 / 9 {
        let answer = post(address, secret, request.clone(), &[]).await;
        if answer.status() != 200 {
            return answer;
        }
    }
    panic!("no call is refused")
}

/// The total usage of a stream by REST, which must ask for it.
async fn total_of_stream(address: &str, secret: &str, mut request: Value) -> Option<u64> {
    request["stream"] = true.into();
    request["stream_options"] = json!({"include_usage": true});
    let answer = post(address, secret, request, &[]).await;
    if answer.status() != 200 {
        return None;
    }
    let body = answer.text().await.unwrap();
    let last = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .next_back()
        .unwrap();
    let last: Value = serde_json::from_str(&format!("{{{last}")).unwrap();
    last["usage"]["total_tokens"].as_u64()
}

#[tokio::test]
async fn callers_that_race_at_all_doors_and_hang_up_do_not_overspend() {
    let (_child, address, secret) = with_key(&["--budget", "tokens=3000/total"], &[]).await;
    let address = address.as_str();
    race(&[address], &secret, 3000).await;
    // What was reserved and not used is free again, until nothing is left.
    let refused = until_refused(address, &secret, at_most(1)).await;
    let (status, body) = json_of(refused).await;
    let error = &body["error"];
    assert_eq!((status, text(error, "code")), (429, "budget_exhausted"));
    assert_eq!(text(error, "type"), "rate_limit_error");
    let message_text = text(error, "message");
    let is_told = message_text.contains("of 3000 tokens left in total");
    assert!(is_told, "{message_text}");
    let mut client = ChatServiceClient::new(channel(address).await);
    let refused = client
        .create_chat_completion(with_secret(message(&at_most(40)), &secret))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "BUDGET_EXHAUSTED");
    assert_eq!(details.error_info().unwrap().metadata["limit"], "3000");
    let violation = &details.quota_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "tokens/total");
}

#[tokio::test]
async fn gateways_that_share_a_database_do_not_overspend_together() {
    for database in Database::each().await {
        let budget = ["create", "--name", "app", "--budget", "tokens=600/day"];
        let key = database.keys_json(&budget).await;
        let secret = text(&key, "secret");
        let (first, second) = tokio::join!(serve(&database, &[]), serve(&database, &[]));
        let addresses = [first.1.as_str(), second.1.as_str()];
        let used = race(&addresses, secret, 600).await;
        // Each gives back what it does not need, so the other can use it.
        for address in addresses {
            let refused = until_refused(address, secret, at_most(1)).await;
            assert_eq!(json_of(refused).await.0, 429);
        }
        // A gateway that starts later knows what was spent.
        end(first.0).await;
        end(second.0).await;
        let (_child, address) = serve(&database, &[]).await;
        let (status, body) = json_of(post(&address, secret, at_most(4000), &[]).await).await;
        let rest = body["usage"]["total_tokens"].as_u64().unwrap_or_default();
        assert!(status == 429 || used + rest <= 600, "{used} and {rest}");
    }
}

/// 64 callers call at these gateways by all doors, and a third hang up. Returns the tokens of the
/// answers that came, which are at most `budget`.
async fn race(addresses: &[&str], secret: &str, budget: u64) -> u64 {
    let used = AtomicU64::new(0);
    let caller = async |number: usize| {
        let address = addresses[number % addresses.len()];
        let request = at_most(40);
        for turn in 0..2 {
            let total = match (number / 2 + turn) % 6 {
                0 | 1 => {
                    let answer = json_of(post(address, secret, request.clone(), &[]).await).await;
                    answer.1["usage"]["total_tokens"].as_u64()
                }
                2 => total_of_stream(address, secret, request.clone()).await,
                3 => {
                    let mut client = ChatServiceClient::new(channel(address).await);
                    let request = with_secret(message(&request), secret);
                    let answer = client.create_chat_completion(request).await.ok();
                    answer.and_then(|answer| {
                        let usage = answer.into_inner().usage?;
                        u64::try_from(usage.total_tokens?).ok()
                    })
                }
                // Hangs up after the first bytes, or before.
                _ => {
                    let mut request = request.clone();
                    request["stream"] = true.into();
                    let mut answer = post(address, secret, request, &[]).await;
                    let _ = answer.chunk().await;
                    None
                }
            };
            used.fetch_add(total.unwrap_or_default(), Relaxed);
        }
    };
    join_all((0..64).map(caller)).await;
    let used = used.into_inner();
    assert!(used > 0 && used <= budget, "{used}");
    used
}

#[tokio::test]
async fn a_call_gets_the_tokens_that_are_left_and_is_told_so() {
    let (_child, address, secret) = with_key(&["--budget", "tokens=400/day"], &[]).await;
    let small = post(&address, &secret, at_most(10), &[]).await;
    assert_eq!(small.status(), 200);
    assert_eq!(header(&small, "x-featherwire-max-tokens"), None);
    let (_, small) = json_of(small).await;
    let spent = small["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(small["usage"]["completion_tokens"], 10);

    let answer = post(&address, &secret, at_most(4000), &[]).await;
    let granted: u64 = header(&answer, "x-featherwire-max-tokens")
        .unwrap()
        .parse()
        .unwrap();
    assert!(granted >= 16 && granted < 400 - spent, "{granted}");
    let (_, answer) = json_of(answer).await;
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= granted);
    // The rest is free as soon as the answer is complete.
    let spent = spent + answer["usage"]["total_tokens"].as_u64().unwrap();
    let body = at_most(400 - spent + 1);
    let refused_or_less = post(&address, &secret, body, &[]).await;
    match refused_or_less.status().as_u16() {
        200 => assert!(header(&refused_or_less, "x-featherwire-max-tokens").is_some()),
        status => {
            assert_eq!(status, 429);
            let seconds: u64 = header(&refused_or_less, "retry-after")
                .unwrap()
                .parse()
                .unwrap();
            assert!((1..=86_400).contains(&seconds), "{seconds}");
            let (_, refusal) = json_of(refused_or_less).await;
            let message = text(&refusal["error"], "message");
            assert!(message.contains("It renews at 20"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_refused_call_is_told_what_it_needs() {
    let (_child, address, secret) = with_key(&["--budget", "tokens=5/day"], &[]).await;
    let refused = post(&address, &secret, at_most(1), &[]).await;
    let (status, refusal) = json_of(refused).await;
    assert_eq!(status, 429);
    let message = text(&refusal["error"], "message");
    let (_, needs) = message.split_once("this call needs at least ").unwrap();
    let needs: u64 = needs.split(',').next().unwrap().parse().unwrap();
    assert!(
        message.contains("5 of 5 tokens left for this day"),
        "{message}"
    );
    assert!((6..200).contains(&needs), "{message}");
}

#[tokio::test]
async fn a_stream_whose_caller_leaves_is_charged_for_what_it_got() {
    let slow = [("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "20")];
    let (_child, address, secret) = with_key(&["--budget", "tokens=3000/day"], &slow).await;
    let before = max_tokens(&address, &secret).await;
    let mut request = at_most(300);
    request["stream"] = true.into();
    let after_answer = {
        // The first call has used what its answer tells, so this is the state before the stream.
        let again = max_tokens(&address, &secret).await;
        assert!(again < before);
        again
    };
    let one_call = before - after_answer;
    let get = with_json(
        http().post(format!("{address}/v1/chat/completions")),
        request.to_string(),
    );
    let mut events = Events::of(get.bearer_auth(&secret)).await;
    for _ in 0..5 {
        events.next().await.unwrap();
    }
    // All 300 tokens are reserved while it runs.
    let during = max_tokens(&address, &secret).await;
    assert!(
        during + one_call + 300 < after_answer,
        "{during} {after_answer}"
    );
    drop(events);
    poll::until("the rest is free", async || {
        max_tokens(&address, &secret).await + 300 > during
    })
    .await;
    // It cost more than a call that was never made.
    let after = max_tokens(&address, &secret).await;
    assert!(after + 4 < after_answer, "{after} {after_answer}");
}

#[tokio::test]
async fn a_key_uses_as_many_tokens_in_a_minute_as_it_may() {
    let (_child, address, secret) = with_key(&["--tokens-per-minute", "300"], &[]).await;
    let answer = post(&address, &secret, at_most(20), &[]).await;
    assert_eq!(answer.status(), 200);
    let limit = header(&answer, "x-ratelimit-limit-tokens");
    assert_eq!(limit.as_deref(), Some("300"));
    assert!(header(&answer, "x-ratelimit-remaining-tokens").is_some());
    assert!(header(&answer, "x-ratelimit-reset-tokens").is_some());
    assert_eq!(header(&answer, "x-featherwire-max-tokens"), None);
    let refused = until_refused(&address, &secret, at_most(20)).await;
    let seconds: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(header(&refused, "x-ratelimit-remaining-tokens").is_some());
    let (status, body) = json_of(refused).await;
    let error = &body["error"];
    assert_eq!((status, text(error, "code")), (429, "rate_limit_exceeded"));
    let message = text(error, "message");
    assert!(message.contains("300 tokens in a minute"), "{message}");
}

#[tokio::test]
async fn calls_and_unit_seconds_are_budgets_too() {
    let flags = [
        "--budget",
        "requests=2/week",
        "--budget",
        "unit-seconds=100000/month",
    ];
    let (_child, address, secret) = with_key(&flags, &[]).await;
    // A refusal of the request itself costs nothing.
    let wrong = post(
        &address,
        &secret,
        json!({"model": MODEL, "messages": []}),
        &[],
    )
    .await;
    assert_eq!(wrong.status(), 400);
    for status in [200, 200, 429] {
        let answer = post(&address, &secret, at_most(5), &[]).await;
        assert_eq!(answer.status().as_u16(), status);
    }
}

#[tokio::test]
async fn what_a_key_has_spent_is_kept_and_all_gateways_of_the_database_know_it() {
    for database in Database::each().await {
        let create = ["create", "--name", "app", "--budget", "requests=4/total"];
        let key = database.keys_json(&create).await;
        let secret = text(&key, "secret");
        let status = async |address: &str| {
            let answer = post(address, secret, at_most(5), &[]).await;
            answer.status().as_u16()
        };
        let (first, address) = serve(&database, &[]).await;
        assert_eq!(status(&address).await, 200);
        // At its end.
        end(first).await;
        let (_second, second) = serve(&database, &[]).await;
        assert_eq!(status(&second).await, 200);

        // While it runs. Two calls are left, so the third of later gateways is refused.
        poll::until("a gateway that starts later refuses", async || {
            let (third, address) = serve(&database, &[]).await;
            let refused = status(&address).await == 429;
            end(third).await;
            refused
        })
        .await;
        // The second gateway hears of it when it saves its own spending.
        poll::until("the second gateway refuses", async || {
            status(&second).await == 429
        })
        .await;
    }
}

#[tokio::test]
async fn the_usage_is_always_asked_for_and_shown_only_to_callers_who_asked() {
    let usage = json!({
        "id": "a", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    });
    let events = vec![chunk("hello"), finish(), usage.to_string()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    for (asked, is_shown) in [(None, false), (Some(false), false), (Some(true), true)] {
        let mut request = prompt(MODEL, "hi");
        request["stream"] = true.into();
        if let Some(asked) = asked {
            request["stream_options"] = json!({"include_usage": asked});
        }
        let call = with_json(
            http().post(gateway.url("/v1/chat/completions")),
            request.to_string(),
        );
        let body = call.send().await.unwrap().text().await.unwrap();
        assert!(
            body.contains("hello") && body.ends_with("data: [DONE]\n\n"),
            "{body}"
        );
        assert_eq!(body.contains("total_tokens"), is_shown, "{asked:?}: {body}");
    }
    for seen in upstream.requests() {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(body["stream_options"]["include_usage"], true);
    }
}

#[tokio::test]
async fn a_gateway_that_is_killed_and_starts_again_goes_on_with_its_budgets_at_once() {
    let ((mut child, database), address, secret) =
        with_key(&["--budget", "tokens=5000/total"], &[]).await;
    let (_, body) = json_of(post(&address, &secret, at_most(30), &[]).await).await;
    let used = body["usage"]["total_tokens"].as_i64().unwrap();
    let mut connection = sqlx::SqliteConnection::connect(&database.url)
        .await
        .unwrap();
    poll::until("the use is saved", async || {
        let saved = sqlx::query_scalar::<_, i64>("SELECT spent FROM featherwire_spending");
        saved.fetch_optional(&mut connection).await.unwrap() == Some(used)
    })
    .await;
    let before = max_tokens(&address, &secret).await;
    child.kill().await.unwrap();
    // The lease of the process that was killed is free: no other one uses the file.
    let (child, address) = serve(&database, &[]).await;
    let after = max_tokens(&address, &secret).await;
    assert!(
        after.abs_diff(before) <= 5000 - before,
        "{before} and {after}"
    );
    end(child).await;
}

#[tokio::test]
async fn calls_go_on_with_what_is_leased_while_the_database_is_locked() {
    let ((child, database), address, secret) =
        with_key(&["--budget", "tokens=5000/total"], &[]).await;
    let call = async || json_of(post(&address, &secret, at_most(30), &[]).await).await;
    let (_, first) = call().await;
    let mut used = first["usage"]["total_tokens"].as_u64().unwrap();
    let mut other = sqlx::SqliteConnection::connect(&database.url)
        .await
        .unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    for _ in 0..20 {
        let (status, answer) = call().await;
        assert_eq!(status, 200, "{answer}");
        used += answer["usage"]["total_tokens"].as_u64().unwrap();
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    end(child).await;
    // Nothing is lost and nothing counts twice.
    let mut other = sqlx::SqliteConnection::connect(&database.url)
        .await
        .unwrap();
    let saved: i64 = sqlx::query_scalar("SELECT spent FROM featherwire_spending")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(u64::try_from(saved), Ok(used));
}
