//! The body of a unary answer: its message, and the trailers with the status.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;

use super::{message, response};
use crate::{error::Result, offload};

/// What is left to send.
#[derive(Debug)]
pub(super) enum UnaryBody {
    /// The message with its prefix, and the trailers.
    Message(Bytes),
    /// The trailers.
    Trailers,
    /// Nothing.
    Over,
}

impl UnaryBody {
    /// The body with this message.
    ///
    /// # Errors
    /// [`Kind::Internal`](crate::error::Kind::Internal) for a message of 4 GiB.
    pub(super) fn new<M: Message>(message: &M) -> Result<Self> {
        let mut encoded = BytesMut::new();
        offload::run_in_place(message.encoded_len(), || {
            message::append(message, &mut encoded)
        })?;
        Ok(Self::Message(encoded.freeze()))
    }
}

impl HttpBody for UnaryBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let (frame, left) = match std::mem::replace(this, Self::Over) {
            Self::Message(message) => (Frame::data(message), Self::Trailers),
            Self::Trailers => (Frame::trailers(response::trailers(None)), Self::Over),
            Self::Over => return Poll::Ready(None),
        };
        *this = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Not exact: an exact size becomes a `content-length`, and gRPC-Web adds the trailers to the
    /// body.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if let Self::Message(message) = self {
            hint.set_lower(message.len() as u64);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::proto::v1::CreateEmbeddingResponse;

    #[tokio::test]
    async fn the_message_is_one_frame_and_the_status_follows() {
        let message = CreateEmbeddingResponse {
            model: "m".to_owned(),
            ..CreateEmbeddingResponse::default()
        };
        let mut body = UnaryBody::new(&message).unwrap();
        let hint = body.size_hint();
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let length = u8::try_from(message.encoded_len()).unwrap();
        assert_eq!(
            data,
            [&[0, 0, 0, 0, length], &*message.encode_to_vec()].concat()
        );
        assert_eq!((hint.lower(), hint.exact()), (data.len() as u64, None));
        assert_eq!((body.size_hint().lower(), body.is_end_stream()), (0, false));
        let trailers = body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_trailers()
            .unwrap();
        assert_eq!(
            (trailers.len(), &trailers["grpc-status"]),
            (1, &"0".parse().unwrap())
        );
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }
}
