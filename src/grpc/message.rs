//! Messages on the wire: the one message of a request, and the messages of answers. Before each
//! message there is a [`Prefix`].

use axum::BoxError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use prost::Message;
use tonic::Status;

use super::message_scanner::{PREFIX_BYTES, Prefix};
use crate::{
    error::{Error, ErrorCode, Result},
    offload,
    proto::{bounds::HasLayout, codec},
    service::Call,
};

/// Receives the message of a request, whose body has passed the checks of
/// [`request`](super::request). The call begins after that: its headers may be trailers.
///
/// # Errors
/// The error of the body; `INTERNAL` without details for bytes that are not protobuf, as tonic has
/// it; [`Kind::Invalid`](crate::error::Kind::Invalid) for a message that takes too much memory, or
/// for metadata of the gateway's own with a value that is not valid for it.
pub(super) async fn receive<M, B>(request: Request<B>) -> Result<(Call, Box<M>), Status>
where
    M: Message + Default + HasLayout,
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let (mut head, body) = request.into_parts();
    let (message, trailers) = read(body).await?;
    head.headers.extend(trailers.into_iter().flatten());
    let call = Call::new(&head.headers, &head.extensions)?;
    Ok((call, message))
}

/// Reads a body to its end, and drops it. The message is decoded as soon as it has arrived: the
/// body [waits](super::large_message) for that.
async fn read<M, B>(mut body: B) -> Result<(Box<M>, Option<HeaderMap>), Status>
where
    M: Message + Default + HasLayout,
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut received = Received::default();
    let (mut message, mut trailers) = (None, None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(Status::from_error)?.into_data() {
            Ok(data) => {
                // What follows a complete message is an error of the body.
                if message.is_none()
                    && let Some(encoded) = received.add(data)
                {
                    let decode = || codec::decode(&encoded).map(Box::new);
                    message = Some(offload::run_in_place(encoded.len(), decode)?);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    // The checks find this too, but not in a body that has trailers.
    let incomplete = "The request ends before its message is complete";
    let message = message.ok_or_else(|| Error::new(ErrorCode::IncompleteBody, incomplete))?;
    Ok((message, trailers))
}

/// The part of a message that has arrived, with its prefix.
#[derive(Debug, Default)]
struct Received(BytesMut);

impl Received {
    /// Adds the next bytes. The length in the prefix has passed the checks. If they complete the
    /// message, it is returned, without its prefix. A message that arrives in one piece is not
    /// copied, and others are copied once.
    fn add(&mut self, mut data: Bytes) -> Option<Bytes> {
        if self.0.is_empty() {
            match announced(&data) {
                Some(bytes) if bytes <= data.len() => {
                    data.truncate(bytes);
                    data.advance(PREFIX_BYTES);
                    return Some(data);
                }
                // The system does not allocate reserved memory before it is written.
                Some(bytes) => self.0.reserve(bytes),
                None => {}
            }
        }
        self.0.extend_from_slice(&data);
        let bytes = announced(&self.0)?;
        if self.0.len() < bytes {
            self.0.reserve(bytes - self.0.len());
            return None;
        }
        let mut message = std::mem::take(&mut self.0);
        message.truncate(bytes);
        message.advance(PREFIX_BYTES);
        Some(message.freeze())
    }
}

/// The length of a message with its prefix, if the prefix has arrived.
fn announced(received: &[u8]) -> Option<usize> {
    let prefix = Prefix::read(*received.first_chunk()?);
    prefix.length.checked_add(PREFIX_BYTES)
}

/// Appends a message of an answer, with its prefix.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) for a message of 4 GiB.
pub(super) fn append<M: Message>(message: &M, out: &mut BytesMut) -> Result<()> {
    let length = message.encoded_len();
    let announced = u32::try_from(length).map_err(Error::internal)?;
    out.reserve(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(announced);
    message.encode_raw(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http::HeaderValue;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Code;

    use super::*;
    use crate::{keys::Identity, proto::v1::CreateCompletionRequest};

    type Received = Result<(Call, Box<CreateCompletionRequest>), Status>;

    fn message() -> CreateCompletionRequest {
        CreateCompletionRequest {
            model: "a model".to_owned(),
            ..CreateCompletionRequest::default()
        }
    }

    fn encoded() -> Bytes {
        let mut encoded = BytesMut::new();
        append(&message(), &mut encoded).unwrap();
        encoded.freeze()
    }

    fn received(frames: Vec<Result<Frame<Bytes>, BoxError>>) -> Received {
        let body = StreamBody::new(stream::iter(frames));
        let mut request = Request::new(body);
        request.extensions_mut().insert(Identity::gateway());
        receive(request).now_or_never().unwrap()
    }

    fn data(data: &[u8]) -> Result<Frame<Bytes>, BoxError> {
        Ok(Frame::data(Bytes::copy_from_slice(data)))
    }

    #[tokio::test]
    async fn a_message_may_arrive_in_any_number_of_frames() {
        let encoded = encoded();
        for bytes in 1..=encoded.len() {
            let frames = encoded.chunks(bytes).map(data).collect();
            assert_eq!(
                *received(frames).unwrap().1,
                message(),
                "{bytes} bytes a frame"
            );
        }
    }

    #[test]
    fn a_message_in_one_frame_is_not_copied_and_another_has_memory_of_its_length() {
        let encoded = encoded();
        let whole = super::Received::default().add(encoded.clone()).unwrap();
        assert_eq!(whole, encoded[PREFIX_BYTES..]);
        assert_eq!(whole.as_ptr(), encoded[PREFIX_BYTES..].as_ptr());
        let mut split = super::Received::default();
        assert!(split.add(encoded.slice(..PREFIX_BYTES + 1)).is_none());
        assert_eq!(split.0.capacity(), encoded.len());
    }

    #[tokio::test]
    async fn bytes_that_are_not_protobuf_are_an_error_that_the_door_explains() {
        let status = received(vec![data(&[0, 0, 0, 0, 1, 255])]).unwrap_err();
        assert_eq!((status.code(), status.details()), (Code::Internal, &[][..]));
        let status = super::super::response::explained(status);
        assert!(!status.details().is_empty());
    }

    #[tokio::test]
    async fn a_message_that_ends_early_is_an_error() {
        let encoded = encoded();
        for bytes in 0..encoded.len() {
            let trailers = Ok(Frame::trailers(HeaderMap::new()));
            let status = received(vec![data(&encoded[..bytes]), trailers]).unwrap_err();
            assert_eq!(
                status.message(),
                "The request ends before its message is complete"
            );
        }
    }

    #[tokio::test]
    async fn bytes_after_the_message_are_left_to_the_checks() {
        let more = [&*encoded(), &[0, 0]].concat();
        for bytes in 1..=more.len() {
            let frames = more.chunks(bytes).map(data).collect();
            assert_eq!(*received(frames).unwrap().1, message());
        }
    }

    #[tokio::test]
    async fn an_error_after_the_message_is_the_error_of_the_body() {
        let error = Err(Status::from(Error::draining()).into());
        let status = received(vec![data(&encoded()), error]).unwrap_err();
        assert_eq!(status.message(), Status::from(Error::draining()).message());
    }

    #[tokio::test]
    async fn trailers_of_the_request_are_metadata() {
        let timeout = (
            "grpc-timeout".parse().unwrap(),
            HeaderValue::from_static("1S"),
        );
        let trailers = Ok(Frame::trailers(HeaderMap::from_iter([timeout])));
        let (call, _) = received(vec![data(&encoded()), trailers]).unwrap();
        assert!(call.deadline.is_some());
    }
}
