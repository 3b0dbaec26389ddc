//! The connections to upstream between two calls: they are used again, and closed when they cannot
//! be used any more.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted, clock, prompt,
    scripted::{Then, answer_for, whole},
};

/// The gateway closes a connection that is idle for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// A unary answer of `text` as bytes.
fn answer(text: &str) -> String {
    let body = whole(text).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn calls_one_after_another_share_one_connection() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::ALL.into_iter().chain(Door::ALL) {
        upstream.set_reply(answer_for(door));
        gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_have_a_connection_each_and_later_calls_need_no_more() {
    const CALLS: usize = 8;
    let upstream = Scripted::always(Reply::Json(200, whole("hi"))).await;
    let gateway = Gateway::to(upstream.address).await;
    for _ in 0..3 {
        let prompt = prompt(MODEL, "hi");
        let calls = (0..CALLS).map(|_| gateway.ask(Door::RestUnary, &prompt));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.ok().content, "hi");
        }
    }
    let opened = upstream.connections();
    assert!((1..=CALLS).contains(&opened), "{opened}");
}

#[tokio::test]
async fn a_connection_that_upstream_closes_between_two_calls_is_closed_here_too() {
    let upstream = Scripted::always(Reply::Json(200, whole("hi"))).await;
    let gateway = Gateway::with(upstream.address, |config| config.upstream.retries = 0).await;
    for calls in 1..4 {
        gateway
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .ok();
        assert_eq!(upstream.connections(), calls);
        let closed = timeout(IDLE_TIMEOUT / 2, upstream.wait_until_idle()).await;
        closed.expect("closed because upstream has closed it, not because it was idle");
    }
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_is_closed() {
    let upstream = Scripted::always(Reply::Json(200, whole("hi"))).await;
    let gateway = Gateway::to(upstream.address).await;
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    clock::advance(IDLE_TIMEOUT / 2).await;
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(
        upstream.connections(),
        1,
        "used again before its time is over"
    );
    clock::advance(IDLE_TIMEOUT).await;
    upstream.wait_until_closed().await;
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_reaches_no_call() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| config.upstream.retries = 0).await;
    let twice = [answer("asked"), answer("not asked")].concat();
    upstream.set_reply(Reply::Wire(twice.into_bytes(), Then::Next));
    for calls in 1..4 {
        let answer = gateway
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .ok();
        assert_eq!(answer.content, "asked");
        assert_eq!(upstream.connections(), calls);
    }
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn an_idle_connection_on_which_upstream_speaks_is_closed() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| config.upstream.retries = 0).await;
    let unasked = Then::Repeat(answer("not asked").into_bytes());
    upstream.set_reply(Reply::Wire(answer("asked").into_bytes(), unasked));
    for _ in 0..3 {
        let answer = gateway
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .ok();
        assert_eq!(answer.content, "asked");
        let closed = timeout(IDLE_TIMEOUT / 2, upstream.wait_until_closed()).await;
        closed.expect("closed because of what came, not because it was idle");
    }
}
