//! The response headers of a streamed answer, and the time when they are sent.
//!
//! The status shows whether the call has started successfully. Therefore the headers wait for the
//! first chunk of the answer or for an error, but not for long, because proxies close silent
//! connections. After [`HEAD_WAIT`] the headers are sent with the status 200. Comments follow while
//! the call still waits, and a later error is an event. With the option `queue` the answer begins as
//! soon as the call waits for units, and has messages about that.

use axum::{body::Body, response::Response};
use futures_util::{Stream, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use super::{response::with_body, sse};
use crate::{
    error::Result,
    json::{Chunk, SingleText},
    service::{QueuePosition, Reply},
};

/// The longest wait of the headers for the first chunk of the answer.
const HEAD_WAIT: std::time::Duration = sse::KEEPALIVE_INTERVAL;

/// The response of an answer that `starting` starts. `position` is the number of requests before it
/// in the queue for units.
pub(super) async fn start<S, M>(
    mut starting: BoxFuture<'static, Result<Reply<S>>>,
    position: QueuePosition,
) -> Response
where
    S: Stream<Item = Result<Chunk<M>>> + Send + Unpin + 'static,
    M: Serialize + SingleText + Send + 'static,
{
    match tokio::time::timeout(HEAD_WAIT, &mut starting).await {
        Ok(Ok(Reply {
            answer,
            headers,
            late_headers,
        })) => {
            let body = if late_headers.are_expected() {
                sse::EventBody::queued(answer, late_headers, position)
            } else {
                sse::EventBody::new(answer)
            };
            respond(body, headers)
        }
        Ok(Err(error)) => error.into_response(),
        Err(_) => respond(
            sse::EventBody::starting(starting, position),
            HeaderMap::new(),
        ),
    }
}

/// The response of an answer that has started.
pub(super) fn respond<S, M>(events: sse::EventBody<S, M>, headers: HeaderMap) -> Response
where
    S: Stream<Item = Result<Chunk<M>>> + Send + Unpin + 'static,
    M: Serialize + SingleText + Send + 'static,
{
    let mut response = with_body(Body::new(events), "text/event-stream", headers);
    // A buffering proxy would send the complete stream at its end.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{
        FutureExt, StreamExt,
        stream::{self, BoxStream},
    };
    use http_body_util::BodyExt;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::error::{Error, ErrorCode};

    type Numbers = BoxStream<'static, Result<Chunk<i32>>>;

    fn after(
        wait: Duration,
        result: Result<Reply<Numbers>>,
    ) -> BoxFuture<'static, Result<Reply<Numbers>>> {
        async move {
            sleep(wait).await;
            result
        }
        .boxed()
    }

    fn one() -> Reply<Numbers> {
        let headers =
            HeaderMap::from_iter([("x-one".parse().unwrap(), HeaderValue::from_static("1"))]);
        Reply {
            headers,
            ..Reply::new(stream::iter([Ok(7.into())]).boxed())
        }
    }

    fn full() -> Error {
        Error::new(ErrorCode::QueueFull, "full")
    }

    async fn text(response: Response) -> String {
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_waits_for_the_start_of_the_answer() {
        let response = start(after(HEAD_WAIT / 2, Err(full())), QueuePosition::default()).await;
        assert_eq!(response.status(), 429);
        let response = start(after(HEAD_WAIT / 2, Ok(one())), QueuePosition::default()).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-one"]),
            (200, &HeaderValue::from_static("1"))
        );
        assert_eq!(text(response).await, "data: 7\n\ndata: [DONE]\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_head_wait_comments_and_errors_are_in_the_stream() {
        const WAITING: &str = ": waiting for the model\n\n";
        let begun = Instant::now();
        let response = start(
            after(HEAD_WAIT * 5 / 2, Ok(one())),
            QueuePosition::default(),
        )
        .await;
        assert_eq!(
            (begun.elapsed(), response.status().as_u16()),
            (HEAD_WAIT, 200)
        );
        assert_eq!(
            text(response).await,
            format!("{WAITING}{WAITING}: x-one: 1\n\ndata: 7\n\ndata: [DONE]\n\n")
        );
        let response = start(
            after(HEAD_WAIT * 3 / 2, Err(full())),
            QueuePosition::default(),
        )
        .await;
        let text = text(response).await;
        assert!(
            text.starts_with(WAITING)
                && text.contains("\"code\":\"queue_full\"")
                && !text.contains("DONE"),
            "{text}"
        );
    }
}
