//! Streamed answers with a long wait: the headers are sent before the answer starts, comments
//! follow, and an error is an event of the stream. The clock is tokio's paused clock, which
//! advances when every task waits.

use std::time::Duration;

use featherwire::server::Outcome;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    support::{
        Door, Gateway, MODEL, Reply, Scripted, prompt,
        scripted::{chunk, finish, whole},
    },
    units::taken,
};

const WAITING_FOR_MODEL: &str = ": waiting for the model";

/// The time for which the units of a cancelled call stay reserved.
const COOLDOWN_MS: u64 = 250;

fn waiting_for_units(ahead: usize) -> String {
    format!(": waiting for concurrency units, about {ahead} ahead")
}

/// A gateway with one unit, so that the next call shows whether the unit was released.
async fn with_one_unit(
    reply: Reply,
    configure: impl FnOnce(&mut featherwire::config::Serve),
) -> (Scripted, Gateway) {
    let upstream = Scripted::always(reply).await;
    upstream.set_catalogue(json!({"data": [{"id": MODEL, "concurrency_cost": 1}]}));
    let gateway = Gateway::with(upstream.address, |config| {
        config.units.units = Some(1);
        configure(config);
    })
    .await;
    (upstream, gateway)
}

/// Sends another call, and returns its wait for the unit.
async fn next_waits_ms(upstream: &Scripted, gateway: &Gateway) -> u64 {
    upstream.set_pause(None);
    upstream.set_reply(Reply::Json(200, whole("next")));
    let answer = gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(answer.content, "next");
    answer.waited_ms.unwrap()
}

fn events() -> Reply {
    Reply::Events(vec![chunk("a"), chunk("b"), finish(), "[DONE]".to_owned()])
}

/// A streamed call whose headers were sent before the start of its answer.
struct Waiting {
    response: reqwest::Response,
    began: Instant,
    unread: String,
}

impl Waiting {
    /// Sends the call, and waits for the headers and the first comment, which must be `comment`.
    /// Both are sent after 15 s.
    async fn with(gateway: &Gateway, headers: &[(&str, &str)], comment: &str) -> Self {
        let mut request = prompt(MODEL, "hi");
        request["stream"] = json!(true);
        let mut post = gateway.post_request("/v1/chat/completions", request);
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        let began = Instant::now();
        let response = post.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), began.elapsed()),
            (200, Duration::from_secs(15))
        );
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut waiting = Self {
            response,
            began,
            unread: String::new(),
        };
        waiting.check_comment(15_000, comment).await;
        waiting
    }

    async fn begin(gateway: &Gateway, comment: &str) -> Self {
        Self::with(gateway, &[], comment).await
    }

    /// The next event or group of comments, and its arrival time in milliseconds.
    async fn next(&mut self) -> Option<(u64, String)> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let event = event.to_owned();
                self.unread = rest.to_owned();
                return Some((
                    u64::try_from(self.began.elapsed().as_millis()).unwrap(),
                    event,
                ));
            }
            let chunk = timeout(Duration::from_secs(60), self.response.chunk())
                .await
                .expect("the next event or comment arrives in time");
            let Some(bytes) = chunk.unwrap() else {
                assert_eq!(self.unread, "", "no end in the middle of an event");
                return None;
            };
            self.unread.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Checks the next comment.
    #[track_caller]
    fn check_comment(&mut self, at_ms: u64, what: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move { assert_eq!(self.next().await, Some((at_ms, what.to_owned())), "{place}") }
    }

    /// Checks that the stream ends with this error, in OpenAI's format.
    async fn check_error(mut self, at_ms: u64, code: &str) -> Value {
        let (came_at, event) = self.next().await.expect("the stream ends with an error");
        let error: Value = serde_json::from_str(
            event
                .strip_prefix("data: ")
                .unwrap_or_else(|| panic!("{event}")),
        )
        .unwrap_or_else(|_| panic!("{event}"));
        assert_eq!(
            (came_at, &error["error"]["code"]),
            (at_ms, &json!(code)),
            "{error}"
        );
        let members: Vec<_> = error["error"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, ["code", "message", "param", "type"]);
        assert_eq!(
            self.next().await,
            None,
            "nothing follows an error, not even [DONE]"
        );
        error
    }

    /// Checks that the answer of [`events`] is next, all at `at_ms`, after the comments that
    /// replace its headers.
    async fn check_answer(mut self, at_ms: u64, waited_ms: u64) {
        let (came_at, headers) = self.next().await.unwrap();
        let mut headers: Vec<_> = headers.lines().collect();
        headers.sort_unstable();
        let waited = format!(": x-featherwire-waited-ms: {waited_ms}");
        assert_eq!(
            (came_at, headers),
            (
                at_ms,
                vec![": x-featherless-request-id: scripted-1", &waited]
            )
        );
        let mut contents = Vec::new();
        loop {
            let (came_at, event) = self.next().await.expect("an answer has an end");
            assert_eq!(came_at, at_ms, "{event}");
            let data = event
                .strip_prefix("data: ")
                .unwrap_or_else(|| panic!("{event}"));
            if data == "[DONE]" {
                break;
            }
            let chunk: Value = serde_json::from_str(data).unwrap();
            assert_eq!(chunk["object"], "chat.completion.chunk");
            contents.push(chunk["choices"][0]["delta"]["content"].clone());
        }
        assert_eq!(contents, [json!("a"), json!("b"), Value::Null]);
        assert_eq!(self.next().await, None);
    }
}

/// Replies that make a caller wait: for the headers, and for the answer after the headers.
fn silences() -> [Reply; 2] {
    [Reply::Silence, Reply::EventsThenSilence(vec![])]
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_waiting_for_the_model_closes_the_upstream_call() {
    for silence in silences() {
        let (upstream, gateway) = with_one_unit(silence, |_| {}).await;
        let mut waiting = Waiting::begin(&gateway, WAITING_FOR_MODEL).await;
        waiting.check_comment(30_000, WAITING_FOR_MODEL).await;
        let left_at = Instant::now();
        drop(waiting);
        upstream.wait_until_closed().await;
        assert_eq!(
            left_at.elapsed(),
            Duration::ZERO,
            "the call is closed at once, not only at the next event"
        );
        assert!(next_waits_ms(&upstream, &gateway).await <= COOLDOWN_MS);
        assert_eq!(upstream.requests().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_waiting_is_an_error_in_the_stream() {
    for silence in silences() {
        let (upstream, gateway) = with_one_unit(silence, |_| {}).await;
        let mut waiting = Waiting::with(
            &gateway,
            &[("x-request-timeout-ms", "40000")],
            WAITING_FOR_MODEL,
        )
        .await;
        waiting.check_comment(30_000, WAITING_FOR_MODEL).await;
        waiting.check_error(40_000, "deadline_exceeded").await;
        upstream.wait_until_closed().await;
        assert!(next_waits_ms(&upstream, &gateway).await <= COOLDOWN_MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_is_the_same_error_as_an_early_refusal() {
    let error = |code: &str| {
        json!({"error": {"message": "No.", "type": "t", "param": "temperature",
        "code": code}})
    };
    for (status, body, code) in [
        (400, error("invalid_value"), "invalid_value"),
        (404, error("model_not_found"), "model_not_found"),
        (503, error("no_capacity"), "no_capacity"),
    ] {
        let (upstream, gateway) = with_one_unit(Reply::Json(status, body), |_| {}).await;
        let at_once = gateway.open_stream(MODEL).await;
        assert_eq!(at_once.status(), status);
        let at_once: Value = serde_json::from_slice(&at_once.bytes().await.unwrap()).unwrap();
        upstream.set_pause(Some(Duration::from_secs(20)));
        let late = Waiting::begin(&gateway, WAITING_FOR_MODEL)
            .await
            .check_error(20_000, code)
            .await;
        assert_eq!(late, at_once);
        assert_eq!(next_waits_ms(&upstream, &gateway).await, 0);
        assert_eq!(
            upstream.requests().len(),
            3,
            "{status}: no request is repeated"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_ends_with_an_error_in_the_stream() {
    for silence in silences() {
        let (upstream, gateway) = with_one_unit(silence, |config| {
            config.upstream.first_token_timeout = Duration::from_secs(50)
        })
        .await;
        let mut waiting = Waiting::begin(&gateway, WAITING_FOR_MODEL).await;
        for at_ms in [30_000, 45_000] {
            waiting.check_comment(at_ms, WAITING_FOR_MODEL).await;
        }
        waiting.check_error(50_000, "first_token_timeout").await;
        upstream.wait_until_closed().await;
        assert!(next_waits_ms(&upstream, &gateway).await <= COOLDOWN_MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_complete_and_its_headers_are_a_comment() {
    let (upstream, gateway) = with_one_unit(events(), |_| {}).await;
    upstream.set_pause(Some(Duration::from_secs(40)));
    let mut waiting = Waiting::begin(&gateway, WAITING_FOR_MODEL).await;
    waiting.check_comment(30_000, WAITING_FOR_MODEL).await;
    waiting.check_answer(40_000, 0).await;
    assert_eq!(next_waits_ms(&upstream, &gateway).await, 0);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_gets_its_position_and_is_served_in_order() {
    let (upstream, gateway, holder) = taken(|_| {}).await;
    upstream.set_reply(events());
    upstream.set_pause(Some(Duration::from_secs(20)));
    let mut first = Waiting::begin(&gateway, &waiting_for_units(0)).await;
    // The second call begins when the first call has waited for 15 s.
    let mut second = Waiting::begin(&gateway, &waiting_for_units(1)).await;
    drop(holder);
    tokio::join!(
        async {
            first.check_comment(30_000, &waiting_for_units(0)).await;
            first.check_comment(45_000, WAITING_FOR_MODEL).await;
            first
                .check_answer(50_000 + COOLDOWN_MS, 30_000 + COOLDOWN_MS)
                .await;
        },
        async {
            second.check_comment(30_000, &waiting_for_units(0)).await;
            second.check_comment(45_000, WAITING_FOR_MODEL).await;
            second
                .check_answer(55_000 + COOLDOWN_MS, 35_000 + COOLDOWN_MS)
                .await;
        }
    );
    assert_eq!(next_waits_ms(&upstream, &gateway).await, 0);
    assert_eq!(upstream.requests().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_the_queue_sends_nothing_upstream_and_others_advance() {
    let (upstream, gateway, holder) = taken(|_| {}).await;
    upstream.set_reply(events());
    let first = Waiting::begin(&gateway, &waiting_for_units(0)).await;
    let mut second = Waiting::begin(&gateway, &waiting_for_units(1)).await;
    drop(first);
    second.check_comment(30_000, &waiting_for_units(0)).await;
    assert_eq!(upstream.requests().len(), 1, "only the holder's");
    drop(holder);
    second
        .check_answer(30_000 + COOLDOWN_MS, 30_000 + COOLDOWN_MS)
        .await;
    assert_eq!(next_waits_ms(&upstream, &gateway).await, 0);
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_the_wait_for_units_are_errors_in_the_stream() {
    let (upstream, gateway, holder) =
        taken(|config| config.units.queue_timeout = Duration::from_secs(25)).await;
    Waiting::begin(&gateway, &waiting_for_units(0))
        .await
        .check_error(25_000, "queue_timeout")
        .await;
    let waiting = Waiting::with(
        &gateway,
        &[("x-request-timeout-ms", "20000")],
        &waiting_for_units(0),
    )
    .await;
    // The deadline of the call, and of its wait in the queue.
    waiting.check_error(20_000, "deadline_exceeded").await;
    assert_eq!(upstream.requests().len(), 1, "only the holder's");
    drop(holder);
    assert!(next_waits_ms(&upstream, &gateway).await <= COOLDOWN_MS);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_when_the_gateway_ends_gets_an_error_in_the_stream() {
    let drain_timeout = Duration::from_secs(1);
    for silence in silences() {
        let (upstream, gateway) =
            with_one_unit(silence, |config| config.drain_timeout = drain_timeout).await;
        let waiting = Waiting::begin(&gateway, WAITING_FOR_MODEL).await;
        gateway.shut_down();
        waiting.check_error(16_000, "draining").await;
        upstream.wait_until_closed().await;
        assert_eq!(gateway.stop().await, Outcome::Cut(1));
    }
    let (upstream, gateway, holder) = taken(|config| config.drain_timeout = drain_timeout).await;
    let waiting = Waiting::begin(&gateway, &waiting_for_units(0)).await;
    gateway.shut_down();
    waiting.check_error(16_000, "draining").await;
    upstream.wait_until_closed().await;
    assert_eq!(upstream.requests().len(), 1, "only the holder's");
    assert_eq!(
        gateway.stop().await,
        Outcome::Cut(2),
        "the call that held the unit, and the call that waited for it"
    );
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_begins_with_its_wait_for_units() {
    for door in [Door::GrpcStream, Door::WebStream] {
        let (upstream, gateway, holder) = taken(|_| {}).await;
        upstream.set_reply(events());
        let prompt = prompt(MODEL, "hi");
        let (answer, ()) = tokio::join!(gateway.ask(door, &prompt), async {
            // This is the wait itself: no time passes before the call is in the queue.
            sleep(Duration::from_secs(20)).await;
            drop(holder);
        });
        let answer = answer.ok();
        assert_eq!(
            (answer.content.as_str(), answer.waited_ms),
            ("ab", Some(20_000 + COOLDOWN_MS)),
            "{door:?}"
        );
        assert_eq!(
            gateway.ask(door, &prompt).await.ok().waited_ms,
            Some(0),
            "{door:?}: the unit is free"
        );
        assert_eq!(upstream.requests().len(), 3);
    }
}
