//! `/account/concurrency/stream`: the units in use, every two seconds, and all that can be wrong
//! with that.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use tokio::time::{Interval, interval, sleep};

use super::auth::AccountHolder;
use super::delivery::event_bytes;
use super::faults::Shape;
use super::line::HangUp;
use super::router::Exchange;
use super::{Shared, account};

const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
/// How many snapshots a feed that lags is behind.
const LAG_SNAPSHOTS: usize = 5;
/// Between two bytes of a feed that trickles.
const TRICKLE_EVERY: Duration = Duration::from_millis(10);

/// What is wrong with the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedOddity {
    // Members of every snapshot, also of the single one.
    NoLimit,
    NullLimit,
    FloatLimit,
    TextLimit,
    HugeLimit,
    ZeroLimit,
    NegativeLimit,
    NoUsedCost,
    NullUsedCost,
    TextUsedCost,
    NegativeUsedCost,
    NoRequests,
    // Events between the snapshots.
    EmptyObject,
    Ping,
    Error,
    BrokenJson,
    // Events in place of the snapshots.
    OnlyPings,
    OnlyComments,
    // The way of the bytes.
    Silent,
    Trickle,
    Lag,
    End,
    Cut,
    // Answers in place of the feed.
    Unavailable,
    Page,
}

impl FeedOddity {
    /// Makes the members of a snapshot odd.
    pub fn edit(self, snapshot: &mut Map<String, Value>) {
        let (name, value) = match self {
            Self::NoLimit => ("limit", None),
            Self::NullLimit => ("limit", Some(Value::Null)),
            Self::FloatLimit => {
                let limit = snapshot.get("limit").and_then(Value::as_f64);
                ("limit", Some(json!(limit)))
            }
            Self::TextLimit => {
                let limit = snapshot.get("limit").map(Value::to_string);
                ("limit", Some(json!(limit)))
            }
            Self::HugeLimit => ("limit", Some(json!(99_999_999_999_u64))),
            Self::ZeroLimit => ("limit", Some(json!(0))),
            Self::NegativeLimit => ("limit", Some(json!(-1))),
            Self::NoUsedCost => ("used_cost", None),
            Self::NullUsedCost => ("used_cost", Some(Value::Null)),
            Self::TextUsedCost => ("used_cost", Some(json!("none"))),
            Self::NegativeUsedCost => ("used_cost", Some(json!(-1))),
            Self::NoRequests => ("requests", None),
            _ => return,
        };
        match value {
            Some(value) => snapshot.insert(name.to_owned(), value),
            None => snapshot.remove(name),
        };
    }

    /// The event that stands between two snapshots.
    fn between(self) -> Option<&'static str> {
        match self {
            Self::EmptyObject => Some("{}"),
            Self::Ping | Self::OnlyPings => Some(r#"{"type":"ping"}"#),
            Self::Error => Some(r#"{"error":"no data in 30000ms"}"#),
            Self::BrokenJson => Some(r#"{"limit":8,"used_"#),
            _ => None,
        }
    }
}

pub async fn watch(
    _: AccountHolder,
    State(emulator): State<Shared>,
    Extension(exchange): Extension<Exchange>,
) -> Response {
    match emulator.switches.get().feed {
        Some(FeedOddity::Unavailable) => return Shape::Detail.response(503),
        Some(FeedOddity::Page) => return Shape::Html.response(502),
        _ => {}
    }
    // The first tick of an interval is immediate: the caller sees a snapshot at once.
    let feed = Feed {
        emulator,
        exchange,
        ticks: interval(SNAPSHOT_EVERY),
        past: VecDeque::new(),
        trickle: Bytes::new(),
    };
    let events = stream::unfold(feed, async |mut feed| {
        let bytes = feed.next().await?;
        Some((Ok::<_, Infallible>(bytes), feed))
    });
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(events)).into_response()
}

struct Feed {
    emulator: Shared,
    exchange: Exchange,
    ticks: Interval,
    /// The last snapshots, the oldest first, for a feed that lags.
    past: VecDeque<Bytes>,
    /// What a feed that trickles has yet to send.
    trickle: Bytes,
}

impl Feed {
    /// The next bytes; the switch is read each time, so that it works on a feed that runs.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.trickle.is_empty() {
                sleep(TRICKLE_EVERY).await;
                return Some(self.trickle.split_to(1));
            }
            self.ticks.tick().await;
            let event = event_bytes(&account::snapshot(&self.emulator));
            self.past.push_back(event.clone());
            if self.past.len() > LAG_SNAPSHOTS + 1 {
                self.past.pop_front();
            }
            let Some(oddity) = self.emulator.switches.get().feed else {
                return Some(event);
            };
            match oddity {
                FeedOddity::Silent => {}
                FeedOddity::Trickle => self.trickle = event,
                FeedOddity::Lag => return self.past.front().cloned(),
                FeedOddity::End => return None,
                FeedOddity::Cut => {
                    self.exchange.line.hang_up(HangUp::Close);
                    pending().await
                }
                FeedOddity::OnlyComments => return Some(Bytes::from_static(b": still here\n\n")),
                FeedOddity::OnlyPings => return oddity.between().map(event_bytes),
                _ => {
                    let between = oddity.between().map(event_bytes).unwrap_or_default();
                    return Some([event, between].concat().into());
                }
            }
        }
    }
}
