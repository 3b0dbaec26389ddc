use futures_util::StreamExt;
use http_body::Frame;

use super::*;
use crate::{proto::v1::StreamChatCompletionResponse, upstream::timeouts::Purpose};

/// A body that always has one more comment.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            b": still here\n\n",
        )))))
    }
}

#[tokio::test]
async fn a_body_that_always_has_more_data_meets_its_timeouts_too() {
    let short = Duration::from_millis(50);
    let timeouts = Timeouts {
        purpose: Purpose::Answer,
        first_token: short,
        idle: short,
    };
    for (deadline, code) in [
        (None, "first_token_timeout"),
        (Some(Instant::now()), "deadline_exceeded"),
    ] {
        let options = RequestOptions {
            deadline,
            ..RequestOptions::default()
        };
        let mut events = EventStream::<StreamChatCompletionResponse, _>::new(
            Endless,
            timeouts,
            Instant::now(),
            options,
            None,
        );
        assert_eq!(events.next().await.unwrap().unwrap_err().code(), code);
        assert!(events.next().await.is_none());
    }
}
