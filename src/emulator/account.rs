//! The caller's plan and the units in use: `/v1/plan`, `/account/concurrency` and its stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderValue, header};
use serde_json::json;

use super::Shared;
use super::auth::{AccountHolder, SignedIn};
use super::refusal::json_type;
use super::units::Snapshot;

const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);

pub async fn plan(_: SignedIn, State(emulator): State<Shared>) -> Response {
    let plan = json!({
        "id": "emulator",
        "name": "Featherwire Emulator",
        "max_context_length": 131_072,
        "max_model_size": null,
        "concurrency": emulator.ledger.limit(),
    });
    (json_type(), plan.to_string()).into_response()
}

pub async fn concurrency(_: AccountHolder, State(emulator): State<Shared>) -> Response {
    (json_type(), text(&emulator.ledger.snapshot())).into_response()
}

pub async fn watch_concurrency(_: AccountHolder, State(emulator): State<Shared>) -> Response {
    // The first tick of an interval is immediate: the caller sees a snapshot at once.
    let ticks = tokio::time::interval(SNAPSHOT_EVERY);
    let events = stream::unfold((emulator, ticks), async |(emulator, mut ticks)| {
        ticks.tick().await;
        let event = format!("data: {}\n\n", text(&emulator.ledger.snapshot()));
        Some((Ok::<_, Infallible>(event), (emulator, ticks)))
    });
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(events)).into_response()
}

fn text(snapshot: &Snapshot) -> String {
    serde_json::to_string(snapshot).unwrap_or_default()
}
