//! A half-open circuit, and every possible end of its probe. After each end, the circuit is closed,
//! open for longer, or half open with a free probe. It never stays half open for ever, and a call
//! that only waits never blocks it.

use std::time::Duration;

use featherwire::error::Kind::{self, Invalid, Timeout, Unavailable, Upstream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    Door, Gateway, Reply, Scripted, poll, prompt,
    scripted::{Then, chunk, finish, whole},
};

const MODEL: &str = "org/first";

/// The time for which a circuit is open at first.
const WAIT: Duration = Duration::from_secs(15);

/// Longer than any wait of a cell's call.
const LEAVES_AFTER: Duration = Duration::from_secs(5);

/// The upstream's reply to the probe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Probe {
    /// A refusal for lack of units, and an answer to the second attempt.
    Full,
    /// The same refusal, and then silence until the caller leaves.
    FullAndLeaves,
    /// A refusal by the model.
    Refusal,
    /// The model's refusal of a conversation that is too long.
    TooLong,
    /// The refusal of a model that is not ready, which does not apply to the next call.
    NotReady,
    /// The connection ends before the answer begins.
    Cut,
    /// The connection ends in the middle of a body or a stream.
    CutInside,
    /// No capacity.
    Busy,
    /// Nothing, until the first-token timeout.
    Silence,
    /// Nothing, until the caller's deadline, after this number of seconds.
    Deadline(u64),
    /// Nothing, and the caller disconnects.
    Leaves,
    /// An answer.
    Good,
}

/// The state of the circuit afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Circuit {
    /// Closed: every call is sent.
    Closed,
    /// Open for twice as long as before: no call is sent.
    Open,
    /// Half open: the next call is the only probe.
    HalfOpen,
}

/// The end of the call that is the probe.
#[derive(Clone, Copy, Debug)]
enum End {
    Answered,
    Failed(Kind, &'static str),
    Left,
}

struct Cell(Probe, End, Circuit);

use Circuit::*;
use End::*;
use Probe::*;

#[rustfmt::skip]
const TABLE: &[Cell] = &[
    Cell(Full,          Answered,                                    Closed),
    Cell(FullAndLeaves, Left,                                        HalfOpen),
    Cell(Refusal,       Failed(Invalid, "upstream_refused"),         Closed),
    Cell(TooLong,       Failed(Invalid, "context_length_exceeded"),  Closed),
    Cell(NotReady,      Failed(Kind::NotReady, "model_not_ready"),   HalfOpen),
    Cell(Cut,           Failed(Upstream, "upstream_closed"),         Open),
    Cell(CutInside,     Failed(Upstream, "cut"),                     Open),
    Cell(Busy,          Failed(Unavailable, "no_capacity"),          Open),
    Cell(Silence,       Failed(Timeout, "first_token_timeout"),      Open),
    // A deadline shorter than the silence that counts against a model, and a longer deadline.
    Cell(Deadline(5),   Failed(Timeout, "deadline_exceeded"),        HalfOpen),
    Cell(Deadline(95),  Failed(Timeout, "deadline_exceeded"),        Open),
    Cell(Leaves,        Left,                                        HalfOpen),
    Cell(Good,          Answered,                                    Closed),
];

#[tokio::test(start_paused = true)]
async fn after_every_probe_the_circuit_is_closed_or_open_or_free_for_another_probe() {
    let mut failures = Vec::new();
    for &Cell(probe, end, circuit) in TABLE {
        for door in [
            Door::RestUnary,
            Door::GrpcUnary,
            Door::RestStream,
            Door::GrpcStream,
        ] {
            let play = Play {
                probe,
                end,
                circuit,
                door,
            };
            if let Err(problem) = play.run().await {
                failures.push(format!("{probe:?} by {door:?}: {problem}"));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} cells:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

struct Play {
    probe: Probe,
    end: End,
    circuit: Circuit,
    door: Door,
}

impl Play {
    async fn run(&self) -> Result<(), String> {
        let upstream = Scripted::always(busy()).await;
        upstream.set_catalogue(json!({"data": [{"id": MODEL, "concurrency_cost": 1}]}));
        let gateway = Gateway::with(upstream.address, |config| {
            config.units.units = Some(2);
            config.models.circuit_failures = 3;
            config.models.circuit_wait = WAIT;
            config.upstream.first_token_timeout = Duration::from_secs(100);
        })
        .await;
        for _ in 0..3 {
            self.ask(&gateway).await.failed(Unavailable, "no_capacity");
        }
        self.ask(&gateway).await.failed(Unavailable, "circuit_open");
        sleep(WAIT).await;
        Box::pin(self.probe(&upstream, &gateway)).await?;
        let asked = upstream.requests().len();
        upstream.set_reply(self.good());
        match self.circuit {
            Closed => {
                // Several calls at once succeed, so no call is the only probe.
                let answers = tokio::join!(self.ask(&gateway), self.ask(&gateway));
                let failed = [answers.0, answers.1]
                    .into_iter()
                    .find_map(|answer| answer.failure);
                failed.map_or(Ok(()), |failure| Err(format!("is not closed: {failure:?}")))?;
            }
            HalfOpen => {
                let answer = self.ask(&gateway).await;
                answer.failure.map_or(Ok(()), |failure| {
                    Err(format!("the next one may not ask: {failure:?}"))
                })?;
            }
            Open => {
                let failure = self.ask(&gateway).await.failed(Unavailable, "circuit_open");
                if upstream.requests().len() != asked {
                    return Err("an open circuit asks nothing".to_owned());
                }
                let left = failure.retry_after_seconds.unwrap_or_default();
                if self.door != Door::RestStream
                    && !(WAIT.as_secs()..=2 * WAIT.as_secs()).contains(&left)
                {
                    return Err(format!("open for another {left} s"));
                }
                sleep(WAIT * 2).await;
                let answer = self.ask(&gateway).await;
                answer
                    .failure
                    .map_or(Ok(()), |failure| Err(format!("and for ever: {failure:?}")))?;
            }
        }
        upstream.wait_until_idle().await;
        let units = gateway.units("any").await;
        match units["in_use"] == 0 && units["queued"]["default"] == 0 {
            true => Ok(()),
            false => Err(format!("units are held: {units}")),
        }
    }

    /// Plays the probe, and checks that it blocks no other call after its end.
    async fn probe(&self, upstream: &Scripted, gateway: &Gateway) -> Result<(), String> {
        let before = upstream.requests().len();
        upstream.set_reply(self.reply());
        let call = async {
            match self.probe {
                Deadline(seconds) => {
                    let deadline = format!("{}", seconds * 1000);
                    Some(
                        gateway
                            .ask_with(
                                self.door,
                                &request(),
                                &[("x-request-timeout-ms", &deadline)],
                            )
                            .await,
                    )
                }
                FullAndLeaves | Leaves => timeout(LEAVES_AFTER, self.ask(gateway)).await.ok(),
                _ => Some(self.ask(gateway).await),
            }
        };
        let other = async {
            poll::until("upstream is asked", async || {
                upstream.requests().len() > before
            })
            .await;
            match self.probe {
                Silence | Deadline(_) | Leaves => {
                    let started = Instant::now();
                    let other = self.ask(gateway).await.failed(Unavailable, "circuit_open");
                    assert!(
                        started.elapsed() < Duration::from_secs(1),
                        "during the probe, other calls are refused at once: {other:?}"
                    );
                    Ok(())
                }
                Full => {
                    // The probe waits for units again, and another call is sent.
                    gateway
                        .wait_for_units("it is refused", |view| view["refusals"] != 0)
                        .await;
                    upstream.set_reply(self.good());
                    let other = self.ask(gateway).await;
                    other.failure.map_or(Ok(()), |failure| {
                        Err(format!("it keeps others from the model: {failure:?}"))
                    })
                }
                _ => Ok(()),
            }
        };
        let both = async { tokio::join!(call, other) };
        let (answer, other) = poll::in_small_steps(both).await;
        other?;
        match (self.end, answer) {
            (Left, None) => Ok(()),
            (Answered, Some(answer)) if answer.failure.is_none() => Ok(()),
            (Failed(Upstream, "cut"), Some(answer)) => {
                let cut = if self.door.is_stream() {
                    "upstream_stream_cut"
                } else {
                    "upstream_answer_cut"
                };
                answer.failed(Upstream, cut);
                Ok(())
            }
            (Failed(kind, code), Some(answer)) => {
                answer.failed(kind, code);
                Ok(())
            }
            (end, answer) => Err(format!("{end:?}, but {answer:?}")),
        }
    }

    async fn ask(&self, gateway: &Gateway) -> crate::support::door::Answer {
        // In memory of its own: without optimisation, futures within futures would need more than
        // the stack of a test.
        Box::pin(gateway.ask(self.door, &request())).await
    }

    fn good(&self) -> Reply {
        if self.door.is_stream() {
            Reply::Events(vec![chunk("b"), finish()])
        } else {
            Reply::Json(200, whole("b"))
        }
    }

    fn reply(&self) -> Reply {
        let refusal = |code: &str, message: &str| Reply::Json(400, error(code, message));
        match self.probe {
            Full | FullAndLeaves => {
                let text = error(
                    "concurrency_limit_exceeded",
                    "This user has 2 active units (limit: 2)",
                )
                .to_string();
                let head = "429 x\r\ncontent-type: application/json\r\nretry-after: 20";
                Reply::Raw(head.to_owned(), text.into_bytes())
            }
            Refusal => refusal("", "bad request"),
            TooLong => refusal("context_length_exceeded", "maximum context length is 8192"),
            NotReady => refusal("", "The model is not ready for inference"),
            Cut => Reply::HangUp,
            CutInside if self.door.is_stream() => Reply::EventsThenCut(vec![chunk("a")]),
            CutInside => {
                let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: \
                            99\r\n\r\n{";
                Reply::Wire(half.into(), Then::Close)
            }
            Busy => busy(),
            Silence | Deadline(_) | Leaves => Reply::Silence,
            Good => self.good(),
        }
    }
}

fn request() -> Value {
    prompt(MODEL, "hi")
}

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": "x", "param": null, "code": code}})
}

fn busy() -> Reply {
    Reply::Json(503, error("", "No valid Executor"))
}
