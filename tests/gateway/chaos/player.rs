//! Runs a cell of the table at one door: the call, its fault, and the checks afterwards.

use std::{
    any::Any,
    panic::catch_unwind,
    sync::{Condvar, Mutex},
    time::Duration,
};

use featherwire::{
    config, error::Kind::Timeout, proto::v1::chat_service_client::ChatServiceClient,
    server::Outcome,
};
use serde_json::json;
use tokio::{runtime::Handle, sync::Notify, time::Instant};
use tonic::{Request, transport::Channel};

use super::{
    log::Log,
    step::{BOUND, ID, within},
    table::*,
};

use crate::support::{
    Door, Gateway, MODEL, Scripted,
    door::{frame, message},
    poll, prompt,
    rest::http,
};

/// The timeout under test. Successful calls of the same cell have it too, so it is long enough for
/// a call on a busy machine.
const CLOCK: Duration = Duration::from_secs(3);

/// The largest number of cells that run at the same time, in all tests together. Cells mostly wait
/// for timeouts. With more cells, a step would take too long on a busy machine.
const CELLS_AT_ONCE: usize = 32;

/// The number of cells that can start now.
static FREE: (Mutex<usize>, Condvar) = (Mutex::new(CELLS_AT_ONCE), Condvar::new());

/// Waits for a free slot, runs `play`, and releases the slot.
fn with_slot<T>(play: impl FnOnce() -> T) -> T {
    let (free, is_freed) = &FREE;
    *is_freed
        .wait_while(free.lock().unwrap(), |free| *free == 0)
        .unwrap() -= 1;
    let played = play();
    *free.lock().unwrap() += 1;
    is_freed.notify_one();
    played
}

/// The fallback, which answers if the first model fails.
pub const SECOND: &str = "org/second";

/// Runs the cells of a phase, each through all doors.
pub fn play_all(phase: Phase) {
    let doors = Door::ALL
        .into_iter()
        .filter(|door| !(phase == Body && door.is_stream()))
        .collect();
    play(phase, doors, false);
}

/// Runs the cells of a phase in which a fallback may answer, with a fallback, through all doors at
/// which the caller has received nothing yet.
pub fn play_all_with_fallback(phase: Phase) {
    let doors = Door::ALL
        .into_iter()
        .filter(|door| !(phase >= Body && phase != FirstToken && door.is_stream()));
    play(phase, doors.collect(), true);
}

/// Runs cells, several at a time, and panics with the list of all failed cells.
fn play(phase: Phase, doors: Vec<Door>, has_fallback: bool) {
    let is_played = |cell: &&Cell| {
        cell.0 == phase && cell.can_be_made() && (!has_fallback || cell.allows_fallback())
    };
    let plays = TABLE
        .iter()
        .filter(is_played)
        .flat_map(|&Cell(_, fault, end, attempts)| {
            doors.iter().map(move |&door| Play {
                phase,
                fault,
                end,
                attempts,
                door,
                has_fallback,
            })
        });
    let plays = Mutex::new(plays);
    let (failures, left) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let next = || plays.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..CELLS_AT_ONCE {
            scope.spawn(|| {
                while let Some(play) = next() {
                    // Each play has its own runtime, so a task that is left in it belongs to this
                    // play.
                    match with_slot(|| catch_unwind(|| play.run())) {
                        Ok(took) => left.lock().unwrap().extend(took),
                        Err(panic) => failures
                            .lock()
                            .unwrap()
                            .push(format!("{play:?}: {}", text(&*panic))),
                    }
                }
            });
        }
    });
    let (failures, mut left) = (failures.into_inner().unwrap(), left.into_inner().unwrap());
    left.sort_unstable();
    if let (Some(median), Some(longest)) = (left.get(left.len() / 2), left.last()) {
        let callers = left.len();
        println!(
            "{phase:?}: upstream saw {callers} callers leave after {median:?}, the slowest after \
             {longest:?}"
        );
    }
    assert!(
        failures.is_empty(),
        "{} cells:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied())
        .unwrap_or("?")
}

/// One cell at one door.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    pub phase: Phase,
    pub fault: Fault,
    pub end: End,
    pub attempts: Attempts,
    pub door: Door,
    /// Whether the call names a fallback, which answers.
    pub has_fallback: bool,
}

impl Play {
    /// Returns the time until the upstream saw that the caller had disconnected, if that is the
    /// fault. Every timeout is longer than [`BOUND`], so only the disconnect can have closed the
    /// call.
    fn run(self) -> Option<Duration> {
        let log = Log::default();
        log.listen(self.play(&log))
    }

    async fn play(self, log: &Log) -> Option<Duration> {
        let mut upstream = Scripted::always(self.good()).await;
        let model = |id: &str| json!({"id": id, "concurrency_cost": 1});
        upstream.set_catalogue(json!({"data": [model(MODEL), model(SECOND)]}));
        let gateway = Gateway::with(upstream.address, |config| self.configure(config)).await;
        // Creates everything that the first call creates and that stays afterwards.
        self.ask(&gateway, &[]).await.ok();
        upstream.wait_until_idle().await;
        let tasks = poll::settled_tasks().await;
        let (asked, connections) = (posts(&upstream), upstream.connections());

        let held = self.break_upstream(&mut upstream, &gateway).await;
        let took = if matches!(self.end, Cancelled) {
            Some(
                within(
                    "the caller has left",
                    self.disconnect(&gateway, &upstream, log),
                )
                .await,
            )
        } else {
            let started = Instant::now();
            if self.has_fallback {
                within("the call ends", self.check_fallback_answers(&gateway)).await;
            } else {
                within("the call ends", self.check_end(&gateway)).await;
            }
            self.check_clock(started.elapsed());
            None
        };
        let word = match self.end {
            Finished => "finished",
            Failed(..) if self.has_fallback => "finished",
            Failed(..) => "failed",
            Cancelled => "cancelled",
        };
        log.until("the end is told", |log| log.count("call ended") > 0)
            .await;
        assert_eq!(log.count("call ended"), 1, "one end");
        assert_eq!(
            log.count(&format!("end=\"{word}\"")),
            1,
            "{word}, not {}",
            log.text()
        );
        let attempts = match (self.phase, self.fault) {
            (Connect, Reset | Cut) => upstream.connections() - connections,
            (Queue, _) => posts(&upstream) - asked - 1,
            (Connect, _) => 1 + log.text().matches("retrying the upstream request").count(),
            _ => posts(&upstream) - asked,
        };
        assert_eq!(
            attempts,
            self.attempts + usize::from(self.has_fallback),
            "attempts"
        );

        drop(held);
        self.repair(&mut upstream).await;
        let content = within("the next call ends", self.ask(&gateway, &[]))
            .await
            .ok()
            .content;
        assert_eq!(content, "half", "the next call is answered");
        let units = gateway.units("any").await;
        assert!(
            units["in_use"] == 0 && units["settling"] == 0,
            "no unit is held: {units}"
        );
        within("no request is open upstream", upstream.wait_until_idle()).await;
        poll::until("no task is left", async || {
            Handle::current().metrics().num_alive_tasks() <= tasks
        })
        .await;
        assert_eq!(within("the drain", gateway.stop()).await, Outcome::Drained);
        assert!(
            log.text().contains(" calls=0"),
            "no call runs: {}",
            log.text()
        );
        took
    }

    /// The timeout under test is short, and all others are longer than [`BOUND`]: only this one can
    /// have ended the call.
    fn configure(self, config: &mut config::Serve) {
        let clock = |rings: bool| if rings { CLOCK } else { 4 * BOUND };
        let code = if let Failed(_, code) = self.end {
            code
        } else {
            ""
        };
        config.units.units = Some(1);
        config.units.queue_timeout = match code {
            "queue_timeout" => CLOCK,
            _ => 4 * BOUND,
        };
        let upstream = &mut config.upstream;
        upstream.connect_timeout = clock(code == "connect_timeout");
        upstream.first_token_timeout = clock(code == "first_token_timeout" && !self.has_fallback);
        config.models.fallback_first_token_timeout = clock(code == "first_token_timeout");
        upstream.idle_timeout = clock(code == "stream_stalled" || self.fault == StatusThenSilence);
        upstream.retries = 3;
        upstream.retry_wait = if self.phase == Retry {
            BOUND
        } else {
            Duration::from_millis(1)
        };
    }

    /// Checks that the timeout has not fired early. Each attempt has its own timeout. [`BOUND`]
    /// ensures that the timeout fires.
    fn check_clock(self, took: Duration) {
        let clock = match self.end {
            Failed(_, "queue_timeout") => CLOCK,
            Failed(Timeout, code) if code != "upstream_timeout" => CLOCK,
            _ => return,
        };
        let tries = if self.fault == Silence && self.phase == Connect {
            4
        } else {
            1
        };
        // A deadline counts from a call's arrival, a little after it was sent.
        assert!(took >= clock * tries, "the timeout fired after {took:?}");
    }

    pub fn is_streamed_upstream(self) -> bool {
        self.door.is_stream() || self.phase >= FirstToken
    }

    fn headers(self) -> Vec<(&'static str, &'static str)> {
        let mut headers = Vec::new();
        if self.is_streamed_upstream() && !self.door.is_stream() {
            headers.push(("x-featherwire-unary-via-stream", "true"));
        }
        headers
    }

    async fn ask(
        self,
        gateway: &Gateway,
        more: &[(&'static str, &str)],
    ) -> crate::support::door::Answer {
        gateway
            .ask_with(
                self.door,
                &prompt(MODEL, "hi"),
                &[&self.headers(), more].concat(),
            )
            .await
    }

    /// Sends the call, and checks that the answer is that of the table.
    async fn check_end(self, gateway: &Gateway) {
        // Tonic's client applies `grpc-timeout` itself, and would never receive the gateway's
        // error.
        let deadline = CLOCK.as_millis().to_string();
        let mut headers = vec![("x-request-id", ID)];
        if matches!(self.fault, Deadline | TalksOn) {
            headers.push(("x-request-timeout-ms", &deadline));
        }
        let answer = self.ask(gateway, &headers).await;
        let had_text =
            self.phase >= MidStream && (self.door.is_stream() || matches!(self.end, Finished));
        if self.fault == TalksOn && had_text {
            assert!(
                answer.content.starts_with("halfhalf"),
                "the content before the fault is passed on: {answer:?}"
            );
        } else {
            assert_eq!(
                answer.content,
                if had_text { "half" } else { "" },
                "only the content before the fault is passed on"
            );
        }
        if let Failed(kind, code) = self.end {
            assert!(
                answer.finish_reason.is_none() || self.phase >= LastChunk,
                "never looks complete: {answer:?}"
            );
            answer.failed(kind, code);
        } else {
            answer.ok();
        }
    }

    /// Sends the call, and checks that the caller gets only the fallback's answer, even if the
    /// first model had started its answer.
    async fn check_fallback_answers(self, gateway: &Gateway) {
        let headers = [("x-request-id", ID), ("x-featherwire-fallback", SECOND)];
        let answer = self.ask(gateway, &headers).await.ok();
        let Failed(_, code) = self.end else {
            panic!("no fallback is needed in this cell")
        };
        assert_eq!(answer.content, "half");
        assert_eq!(answer.served_by.as_deref(), Some(SECOND));
        assert_eq!(answer.tried, Some(format!("{MODEL}={code}")));
    }

    /// Sends the call, disconnects, and waits until the upstream has noticed.
    async fn disconnect(self, gateway: &Gateway, upstream: &Scripted, log: &Log) -> Duration {
        let has_words = Notify::new();
        // The connection stays open. Only its stream is reset.
        let channel = gateway.channel().await;
        let has_come_so_far = async {
            match self.phase {
                Queue => gateway.wait_for_queued(1).await,
                Retry => {
                    let waits = |log: &Log| log.text().contains("retrying the upstream request");
                    log.until("it waits", waits).await
                }
                Connect => {
                    let port = upstream.address.port();
                    poll::until("it connects", async || is_connecting_to(port)).await
                }
                _ if self.phase >= MidStream && self.door.is_stream() => has_words.notified().await,
                _ => upstream.wait_until_stalled().await,
            }
        };
        tokio::select! {
            () = self.listen(gateway, channel.clone(), &has_words) => {
                panic!("the call ended before its caller left")
            }
            () = has_come_so_far => {}
        }
        let left = Instant::now();
        if matches!(self.phase, Queue | Retry | Connect) {
            log.until("the call is given up", |log| log.count("call ended") > 0)
                .await;
        } else {
            upstream.wait_until_closed().await;
        }
        let took = left.elapsed();
        drop(channel);
        took
    }

    /// Runs a caller that notifies `has_words` when the first content arrives.
    async fn listen(self, gateway: &Gateway, channel: Channel, has_words: &Notify) {
        let ask = prompt(MODEL, "hi");
        let headers = [&self.headers()[..], &[("x-request-id", ID)]].concat();
        let post = match self.door {
            Door::GrpcUnary | Door::GrpcStream => {
                let mut request = Request::new(message(&ask));
                for (name, value) in headers {
                    request.metadata_mut().insert(name, value.parse().unwrap());
                }
                let mut client = ChatServiceClient::new(channel);
                if self.door == Door::GrpcUnary {
                    let _ = client.create_chat_completion(request).await;
                    return;
                }
                let Ok(response) = client.stream_chat_completion(request).await else {
                    return;
                };
                let mut stream = response.into_inner();
                while let Ok(Some(piece)) = stream.message().await {
                    let mut deltas = piece
                        .choices
                        .into_iter()
                        .filter_map(|choice| choice.delta?.content);
                    if deltas.any(|text| text == "half") {
                        has_words.notify_one();
                    }
                }
                return;
            }
            Door::RestUnary | Door::RestStream => {
                let mut ask = ask;
                ask["stream"] = json!(self.door.is_stream());
                gateway.post_request("/v1/chat/completions", ask)
            }
            Door::WebUnary | Door::WebStream => {
                let method = if self.door.is_stream() {
                    "StreamChatCompletion"
                } else {
                    "CreateChatCompletion"
                };
                let post =
                    http().post(gateway.url(&format!("/featherwire.v1.ChatService/{method}")));
                let post = post
                    .header("content-type", "application/grpc-web+proto")
                    .header("x-grpc-web", "1");
                post.body(frame(&prost::Message::encode_to_vec(&message(&ask))))
            }
            Door::ConnectUnary | Door::ConnectStream => gateway.connect_request(self.door, &ask),
        };
        let post = headers
            .into_iter()
            .fold(post, |post, (name, value)| post.header(name, value));
        let mut response = post.send().await.unwrap();
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            body.extend_from_slice(&bytes);
            if body.windows(4).any(|window| window == b"half") {
                has_words.notify_one();
            }
        }
    }
}

fn posts(upstream: &Scripted) -> usize {
    upstream
        .requests()
        .iter()
        .filter(|seen| seen.head.starts_with("POST"))
        .count()
}

/// Whether some socket of this machine waits for a connection to this port.
fn is_connecting_to(port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let to = format!(":{port:04X}");
    std::fs::read_to_string("/proc/net/tcp")
        .unwrap()
        .lines()
        .any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&to))
                && fields.next() == Some(SYN_SENT)
        })
}
