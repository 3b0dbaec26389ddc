//! A request body with a message of JSON, which becomes one of protobuf when it is complete.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use prost_reflect::MessageDescriptor;
use tonic::Status;

use super::json;
use crate::{grpc::message_scanner::PREFIX_BYTES, offload, service::inflight_bytes::ByteShare};

/// The one message of a body that has passed the checks of [`request`](crate::grpc::request), as a
/// frame with protobuf.
pub(super) struct JsonBody(Option<Reading>);

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, BoxError>> + Send>>;

impl JsonBody {
    /// Reads `message` from `body`. `share` counts the bytes until the message is converted.
    pub(super) fn new<B>(body: B, message: MessageDescriptor, share: Option<Arc<ByteShare>>) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        Self(Some(Box::pin(read(body, message, share))))
    }
}

async fn read<B>(
    mut body: B,
    message: MessageDescriptor,
    share: Option<Arc<ByteShare>>,
) -> Result<Bytes, BoxError>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if let Some(share) = &share {
            share.add(data.len()).map_err(Status::from)?;
        }
        received.extend_from_slice(&data);
    }
    drop(body);
    let length = received.len();
    let received = received.freeze();
    let decode = move || {
        let text = received.get(PREFIX_BYTES..).unwrap_or_default();
        json::decode(&message, text)
    };
    let frame = offload::run(length, decode).await;
    Ok(frame.and_then(|frame| frame).map_err(Status::from)?)
}

impl HttpBody for JsonBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(reading) = &mut this.0 else {
            return Poll::Ready(None);
        };
        let frame = ready!(reading.as_mut().poll(context));
        this.0 = None;
        Poll::Ready(Some(frame.map(Frame::data)))
    }
}
