//! Logs, and the id by which a call is found in them.

use std::io::IsTerminal;

use axum::{extract::Request, middleware::Next, response::Response};
use http::HeaderValue;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The header, and gRPC metadata key, of a call's id: the caller's, or one of ours.
pub const REQUEST_ID: &str = "x-request-id";

/// A caller's id that is longer is replaced by one of ours.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Starts logging to standard error, as the filter says or by this default.
///
/// # Errors
/// What is wrong with the filter.
pub fn start(filter: Option<&str>, default: &str) -> Result<(), String> {
    let filter = filter.unwrap_or(default);
    // A level alone is meant for our own lines; the libraries' chatter is there for whoever names them.
    let targets = match filter.parse::<LevelFilter>() {
        Ok(level) => format!("{},featherwire={level}", level.min(LevelFilter::WARN)),
        Err(_) => filter.to_owned(),
    };
    let filter: Targets = targets.parse().map_err(|error| {
        format!("FEATHERWIRE_LOG is not a filter such as `info` or `warn,featherwire=debug`: {error}")
    })?;
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second start, as in tests, changes nothing.
    let _ = tracing_subscriber::registry().with(format).with(filter).try_init();
    Ok(())
}

/// Gives every call an id, tells it to the caller and writes one line, at the level `debug`, about how it was answered.
/// What is asked and answered stays out of logs, and so do queries and keys.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let id = match request.headers().get(REQUEST_ID) {
        Some(id) if is_id(id) => id.clone(),
        _ => new_id(),
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = tokio::time::Instant::now();
    let mut response = next.run(request).await;
    let (status, elapsed) = (response.status().as_u16(), begun.elapsed());
    tracing::debug!(id = id.to_str().unwrap_or_default(), %method, path, status, ?elapsed, "answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_id() -> HeaderValue {
    let id = format!("{:032x}", fastrand::u128(..));
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
