//! Counts the bytes of every request body as they arrive, so that all bodies together stay below
//! `--max-inflight-request-bytes`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::service::inflight_bytes::{ByteShare, InflightBytes};

/// Counts the bytes of the request's body in `inflight` as they arrive. Adds the share of the
/// request to its extensions.
pub(super) fn count(inflight: &InflightBytes, mut request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let share = inflight.share();
    request.extensions_mut().insert(Arc::clone(&share));
    request.map(|body| Body::new(CountedBody { body, share }))
}

/// A body whose bytes are counted. It fails with the gateway's error at the limit.
struct CountedBody {
    body: Body,
    share: Arc<ByteShare>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                this.share.add(data.len())?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use http_body_util::{BodyExt, Full};
    use tokio::time::Instant;
    use tonic::Status;
    use tonic_types::StatusExt;

    use super::*;
    use crate::{
        grpc::large_message::wait_for_turn,
        offload::{self, LARGE_BYTES},
    };

    /// A large gRPC request, with the deadline of its caller.
    fn large(grpc_timeout: Option<&str>) -> Request {
        let mut request = Request::builder().header("content-type", "application/grpc");
        if let Some(timeout) = grpc_timeout {
            request = request.header("grpc-timeout", timeout);
        }
        request
            .body(Body::new(Full::from(vec![0; LARGE_BYTES + 1])))
            .unwrap()
    }

    /// The reason of the request's error.
    async fn reason(request: Request) -> String {
        let error = request
            .into_body()
            .frame()
            .await
            .unwrap()
            .unwrap_err()
            .into_inner();
        error
            .downcast::<Status>()
            .unwrap()
            .get_error_details()
            .error_info()
            .unwrap()
            .reason
            .clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_waits_at_most_until_its_timeout_and_then_releases_its_bytes() {
        let inflight = InflightBytes::new(usize::MAX);
        let turns = offload::acquire_all().await;
        for (grpc_timeout, expected, seconds) in [
            (
                None,
                "TOO_MANY_LARGE_BODIES",
                offload::PERMIT_TIMEOUT.as_secs(),
            ),
            (
                Some("3600S"),
                "TOO_MANY_LARGE_BODIES",
                offload::PERMIT_TIMEOUT.as_secs(),
            ),
            (Some("7S"), "DEADLINE_EXCEEDED", 7),
        ] {
            let started = Instant::now();
            assert_eq!(
                reason(wait_for_turn(count(&inflight, large(grpc_timeout)))).await,
                expected,
                "{grpc_timeout:?}"
            );
            assert_eq!(
                started.elapsed(),
                Duration::from_secs(seconds),
                "{grpc_timeout:?}"
            );
            assert_eq!(inflight.used(), 0, "{grpc_timeout:?}");
        }
        let mut waiting = wait_for_turn(count(&inflight, large(None))).into_body();
        assert!(waiting.frame().now_or_never().is_none(), "it waits");
        drop(turns);
        assert_eq!(
            waiting
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
                .len(),
            LARGE_BYTES + 1
        );
        assert!(waiting.frame().await.is_none());
    }
}
