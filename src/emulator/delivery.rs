//! Playing an answer at its pace, whole or streamed, while holding the units it costs.
//!
//! The permit lives in the future or in the body that hyper drops with the connection, so that a caller who leaves frees
//! the units at once. It is given back just before the last bytes: a caller who has seen the end may ask again.

use std::future::pending;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::beats::{Beat, Beats};
use super::faults::Trouble;
use super::refusal::json_type;
use super::spoiling::{self, Whole};
use super::units::Permit;

/// Time for the bytes before a cut to leave: an error right behind them would discard what is still buffered.
const CUT_AFTER: Duration = Duration::from_millis(20);

pub struct Delivery {
    pub permit: Permit,
    pub tokens_per_second: f64,
    pub trouble: Option<Trouble>,
}

impl Delivery {
    /// One JSON answer, when all its tokens are made.
    pub async fn whole(self, answer: Value, tokens: usize) -> Response {
        let mut pace = Pace::new(&self);
        pace.wait(tokens).await;
        match spoiling::whole(self.trouble, answer) {
            Whole::Answer(answer) => {
                drop(self.permit);
                (json_type(), answer.to_string()).into_response()
            }
            Whole::Refused(refusal) => refusal.into_response(),
            Whole::Late(delay, answer) => {
                sleep(delay).await;
                (json_type(), answer.to_string()).into_response()
            }
            Whole::Bytes(beats, length) => {
                let mut response = (json_type(), self.body(beats)).into_response();
                if let Some(length) = length {
                    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
                }
                response
            }
            Whole::Never => pending().await,
        }
    }

    /// Server-sent events, each when its token is made.
    pub fn streamed(self, beats: Beats) -> Response {
        let beats = spoiling::stream(self.trouble, beats);
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, self.body(beats)).into_response()
    }

    fn body(self, beats: Beats) -> Body {
        let player = Player { pace: Pace::new(&self), permit: Some(self.permit), beats };
        Body::from_stream(stream::unfold(player, async |mut player| {
            let frame = player.next_frame().await?;
            Some((frame, player))
        }))
    }
}

struct Player {
    beats: Beats,
    pace: Pace,
    permit: Option<Permit>,
}

impl Player {
    async fn next_frame(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.beats.next() {
                Some(Beat::Tick) => self.pace.wait(1).await,
                Some(Beat::Token(event) | Beat::Finish(event) | Beat::Event(event)) => {
                    return Some(Ok(event_bytes(&event.to_string())));
                }
                Some(Beat::Done) => {
                    self.permit = None;
                    return Some(Ok(event_bytes("[DONE]")));
                }
                Some(Beat::Raw(bytes)) => return Some(Ok(bytes)),
                Some(Beat::Pause(duration)) => sleep(duration).await,
                Some(Beat::Breath) => tokio::task::yield_now().await,
                Some(Beat::Hang) => pending().await,
                Some(Beat::Cut) => {
                    sleep(CUT_AFTER).await;
                    return Some(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                None => {
                    self.permit = None;
                    return None;
                }
            }
        }
    }
}

pub fn event_bytes(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// Keeps to a timetable instead of sleeping per token, so that rounding of timers does not slow the answer down.
struct Pace {
    next: Instant,
    per_token: Duration,
}

impl Pace {
    fn new(delivery: &Delivery) -> Self {
        let tokens_per_second = match delivery.trouble {
            Some(Trouble::Slow) => spoiling::SLOW_TOKENS_PER_SECOND,
            _ => delivery.tokens_per_second,
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
