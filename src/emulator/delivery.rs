//! Sends an answer at the configured token rate, unary or streamed, and holds its units until the
//! end.
//!
//! The future or the body owns the permit, and hyper drops both with the connection. The units of a
//! caller who disconnects are therefore released a little later. The units of a complete answer are
//! released just before its last bytes, so that a caller who has read the end finds them free.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::ConnectionHandle;
use super::faults::{self, FaultId, FaultKind, UnaryAnswer};
use super::refusal::json_type;
use super::steps::{Step, Steps, event_bytes};
use super::units::Permit;

/// The delay between the last bytes and the end of the connection. Without the delay, the system
/// would discard bytes that are still buffered.
const DISCONNECT_DELAY: Duration = Duration::from_millis(20);

pub struct Delivery {
    pub permit: Permit,
    pub tokens_per_second: f64,
    pub fault: Option<FaultId>,
    pub connection: ConnectionHandle,
}

impl Delivery {
    /// The answer as one JSON body, sent when all its tokens are generated.
    pub async fn unary(self, answer: Value, tokens: usize) -> Response {
        let mut pace = Pace::new(&self);
        pace.wait(tokens).await;
        let response = match faults::change_unary(self.fault.as_ref(), answer) {
            UnaryAnswer::Answer(answer) => (json_type(), answer.to_string()).into_response(),
            UnaryAnswer::Text(text) => (json_type(), text).into_response(),
            UnaryAnswer::Response(response) => response,
            UnaryAnswer::Delayed(delay, answer) => {
                sleep(delay).await;
                (json_type(), answer.to_string()).into_response()
            }
            UnaryAnswer::Bytes(steps, length) => {
                let mut response = (json_type(), self.body(steps)).into_response();
                if let Some(length) = length {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                return response;
            }
            UnaryAnswer::Never => pending().await,
        };
        self.permit.release();
        response
    }

    /// The answer as server-sent events, each sent when its token is generated.
    pub fn stream(self, steps: Steps) -> Response {
        let steps = faults::change_stream(self.fault.as_ref(), steps);
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream; charset=utf-8"),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, self.body(steps)).into_response()
    }

    fn body(self, steps: Steps) -> Response {
        let body = AnswerBody {
            pace: Pace::new(&self),
            permit: Some(self.permit),
            connection: self.connection,
            steps,
        };
        let mut response =
            Response::new(Body::from_stream(stream::unfold(body, async |mut body| {
                let frame = body.next_frame().await?;
                Some((frame, body))
            })));
        if let Some(encoding) = self.fault.and_then(|fault| fault.content_encoding()) {
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}

struct AnswerBody {
    steps: Steps,
    pace: Pace,
    permit: Option<Permit>,
    connection: ConnectionHandle,
}

impl AnswerBody {
    async fn next_frame(&mut self) -> Option<Result<Bytes, Infallible>> {
        loop {
            match self.steps.next() {
                Some(Step::Tick) => self.pace.wait(1).await,
                Some(Step::Token(event) | Step::Finish(event) | Step::Event(event)) => {
                    return Some(Ok(event_bytes(&event.to_string())));
                }
                Some(Step::Done) => {
                    self.release();
                    return Some(Ok(event_bytes("[DONE]")));
                }
                Some(Step::Raw(bytes)) => return Some(Ok(bytes)),
                Some(Step::Pause(duration)) => sleep(duration).await,
                Some(Step::Yield) => tokio::task::yield_now().await,
                Some(Step::Hang) => pending().await,
                Some(Step::Disconnect(how)) => {
                    sleep(DISCONNECT_DELAY).await;
                    self.release();
                    self.connection.disconnect(how);
                    pending().await
                }
                None => {
                    self.release();
                    return None;
                }
            }
        }
    }

    fn release(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.release();
        }
    }
}

/// Waits until absolute points in time. A relative sleep per token would add up the rounding errors
/// of the timer.
struct Pace {
    next: Instant,
    per_token: Duration,
}

impl Pace {
    fn new(delivery: &Delivery) -> Self {
        let is_slow = delivery
            .fault
            .as_ref()
            .is_some_and(|fault| fault.kind == FaultKind::Slow);
        let tokens_per_second = if is_slow {
            faults::SLOW_TOKENS_PER_SECOND
        } else {
            delivery.tokens_per_second
        };
        Self {
            next: Instant::now(),
            // A rate that is zero, negative or too small for a `Duration` means "without delay".
            per_token: Duration::try_from_secs_f64(tokens_per_second.recip()).unwrap_or_default(),
        }
    }

    async fn wait(&mut self, tokens: usize) {
        if self.per_token.is_zero() {
            return;
        }
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.next += self.per_token.saturating_mul(tokens);
        sleep_until(self.next).await;
    }
}
