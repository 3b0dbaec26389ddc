//! `/account/concurrency/stream`: a snapshot of the units in use every two seconds, changed by the
//! `feed` switch if it is set.

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
use tokio::time::{Interval, interval, sleep};

use super::account;
use super::auth::AuthenticatedAccount;
use super::connection::Disconnect;
use super::endpoint_faults::FeedFault;
use super::exchange::Exchange;
use super::faults::Shape;
use super::state::Shared;
use super::steps::event_bytes;

const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
/// The number of snapshots by which a lagging feed is late.
const LAG_SNAPSHOTS: usize = 5;
/// The time between two bytes of a trickling feed.
const TRICKLE_EVERY: Duration = Duration::from_millis(10);

pub async fn watch(
    _: AuthenticatedAccount,
    State(emulator): State<Shared>,
    Extension(exchange): Extension<Exchange>,
) -> Response {
    match emulator.switches.get().feed {
        Some(FeedFault::Unavailable) => return Shape::Detail.response(503),
        Some(FeedFault::Page) => return Shape::Html.response(502),
        _ => {}
    }
    // The first tick of an interval completes immediately, so the first snapshot has no delay.
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
    /// The last snapshots, oldest first. A lagging feed sends the oldest one.
    past: VecDeque<Bytes>,
    /// The bytes that a trickling feed has not sent yet.
    trickle: Bytes,
}

impl Feed {
    /// The next bytes. The switch is read each time, so that a change affects a running feed.
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
            let Some(fault) = self.emulator.switches.get().feed else {
                return Some(event);
            };
            match fault {
                FeedFault::Silent => {}
                FeedFault::Trickle => self.trickle = event,
                FeedFault::Lag => return self.past.front().cloned(),
                FeedFault::End => return None,
                FeedFault::Cut => {
                    self.exchange.connection.disconnect(Disconnect::Close);
                    pending().await
                }
                FeedFault::OnlyComments => return Some(Bytes::from_static(b": still here\n\n")),
                FeedFault::OnlyPings => return fault.between().map(event_bytes),
                _ => {
                    let between = fault.between().map(event_bytes).unwrap_or_default();
                    return Some([event, between].concat().into());
                }
            }
        }
    }
}
