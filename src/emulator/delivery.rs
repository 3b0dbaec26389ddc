//! Playing an answer at its pace, whole or streamed, while holding the units it costs.
//!
//! The permit lives in the future or in the body that hyper drops with the connection, so that a
//! caller who leaves frees the units a little later. An answer that ends gives them back just
//! before its last bytes: a caller who has seen the end may ask again.

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

use super::beats::{Beat, Beats};
use super::faults::{self, FaultId, Trouble, Whole};
use super::line::Line;
use super::refusal::json_type;
use super::units::Permit;

/// Time for the bytes before it to leave: a connection that ends right behind them would discard
/// what is still buffered.
const HANG_UP_AFTER: Duration = Duration::from_millis(20);

pub struct Delivery {
    pub permit: Permit,
    pub tokens_per_second: f64,
    pub fault: Option<FaultId>,
    pub line: Line,
}

impl Delivery {
    /// One JSON answer, when all its tokens are made.
    pub async fn whole(self, answer: Value, tokens: usize) -> Response {
        let mut pace = Pace::new(&self);
        pace.wait(tokens).await;
        let response = match faults::whole(self.fault.as_ref(), answer) {
            Whole::Answer(answer) => (json_type(), answer.to_string()).into_response(),
            Whole::Text(text) => (json_type(), text).into_response(),
            Whole::Instead(response) => response,
            Whole::Late(delay, answer) => {
                sleep(delay).await;
                (json_type(), answer.to_string()).into_response()
            }
            Whole::Bytes(beats, length) => {
                let mut response = (json_type(), self.body(beats)).into_response();
                if let Some(length) = length {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                return response;
            }
            Whole::Never => pending().await,
        };
        self.permit.give_back();
        response
    }

    /// Server-sent events, each when its token is made.
    pub fn streamed(self, beats: Beats) -> Response {
        let beats = faults::stream(self.fault.as_ref(), beats);
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream; charset=utf-8"),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, self.body(beats)).into_response()
    }

    fn body(self, beats: Beats) -> Response {
        let player = Player {
            pace: Pace::new(&self),
            permit: Some(self.permit),
            line: self.line,
            beats,
        };
        let mut response = Response::new(Body::from_stream(stream::unfold(
            player,
            async |mut player| {
                let frame = player.next_frame().await?;
                Some((frame, player))
            },
        )));
        if let Some(encoding) = self.fault.and_then(|fault| fault.content_encoding()) {
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}

struct Player {
    beats: Beats,
    pace: Pace,
    permit: Option<Permit>,
    line: Line,
}

impl Player {
    async fn next_frame(&mut self) -> Option<Result<Bytes, Infallible>> {
        loop {
            match self.beats.next() {
                Some(Beat::Tick) => self.pace.wait(1).await,
                Some(Beat::Token(event) | Beat::Finish(event) | Beat::Event(event)) => {
                    return Some(Ok(event_bytes(&event.to_string())));
                }
                Some(Beat::Done) => {
                    self.give_back();
                    return Some(Ok(event_bytes("[DONE]")));
                }
                Some(Beat::Raw(bytes)) => return Some(Ok(bytes)),
                Some(Beat::Pause(duration)) => sleep(duration).await,
                Some(Beat::Breath) => tokio::task::yield_now().await,
                Some(Beat::Hang) => pending().await,
                Some(Beat::HangUp(how)) => {
                    sleep(HANG_UP_AFTER).await;
                    self.give_back();
                    self.line.hang_up(how);
                    pending().await
                }
                None => {
                    self.give_back();
                    return None;
                }
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.give_back();
        }
    }
}

pub fn event_bytes(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// Keeps to a timetable instead of sleeping per token, so that rounding of timers does not slow the
/// answer down.
struct Pace {
    next: Instant,
    per_token: Duration,
}

impl Pace {
    fn new(delivery: &Delivery) -> Self {
        let is_slow = delivery
            .fault
            .as_ref()
            .is_some_and(|fault| fault.trouble == Trouble::Slow);
        let tokens_per_second = if is_slow {
            faults::SLOW_TOKENS_PER_SECOND
        } else {
            delivery.tokens_per_second
        };
        Self {
            next: Instant::now(),
            // Zero, negative or absurdly slow paces have no duration and mean "at once".
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
