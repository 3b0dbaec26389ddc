//! Counts the bytes of every request body as they arrive, so that all bodies together stay below
//! `--max-inflight-request-bytes`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::service::inflight_bytes::{ByteShare, InflightBytes};

/// Counts the bytes of the request's body in `inflight` as they arrive. Adds the share of the
/// request to its extensions.
pub(super) fn count<B: HttpBody>(
    inflight: &InflightBytes,
    mut request: Request<B>,
) -> Request<CountedBody<B>> {
    let share = (!request.body().is_end_stream()).then(|| inflight.share());
    if let Some(share) = &share {
        request.extensions_mut().insert(Arc::clone(share));
    }
    request.map(|body| CountedBody { body, share })
}

/// A body whose bytes are counted. It fails with the gateway's error at the limit.
pub(super) struct CountedBody<B> {
    body: B,
    /// `None` if there is no body.
    share: Option<Arc<ByteShare>>,
}

impl<B> HttpBody for CountedBody<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            if let (Some(data), Some(share)) = (frame.data_ref(), &this.share) {
                share.add(data.len())?;
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
    use std::{fmt::Debug, time::Duration};

    use axum::body::Body;
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

    const SEVEN: Duration = Duration::from_secs(7);

    fn large() -> Request<Body> {
        Request::new(Body::new(Full::from(vec![0; LARGE_BYTES + 1])))
    }

    /// The reason of the request's error.
    async fn reason<B>(request: Request<B>) -> String
    where
        B: HttpBody<Data: Debug, Error = BoxError> + Unpin,
    {
        let error = request.into_body().frame().await.unwrap().unwrap_err();
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
        for (timeout, expected, seconds) in [
            (
                None,
                "TOO_MANY_LARGE_BODIES",
                offload::PERMIT_TIMEOUT.as_secs(),
            ),
            (
                Some(SEVEN * 3600),
                "TOO_MANY_LARGE_BODIES",
                offload::PERMIT_TIMEOUT.as_secs(),
            ),
            (Some(SEVEN), "DEADLINE_EXCEEDED", 7),
        ] {
            let started = Instant::now();
            assert_eq!(
                reason(wait_for_turn(count(&inflight, large()), timeout)).await,
                expected,
                "{timeout:?}"
            );
            assert_eq!(
                started.elapsed(),
                Duration::from_secs(seconds),
                "{timeout:?}"
            );
            assert_eq!(inflight.used(), 0, "{timeout:?}");
        }
        let mut waiting = wait_for_turn(count(&inflight, large()), None).into_body();
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
