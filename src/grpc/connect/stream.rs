//! The body of a streamed answer: its messages, and the envelope that ends it. Binary messages are
//! passed on as they are.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use prost_reflect::MessageDescriptor;
use tonic::{Code, Status};

use super::{error, json};
use crate::{
    coding::Coding,
    error::{Error, Result},
    grpc::{
        compression::response::compress_large,
        message_scanner::{PREFIX_BYTES, Prefix},
    },
    offload,
};

/// The body of a streamed answer. Dropping it drops the answer of gRPC.
pub(super) struct StreamBody {
    /// `None` after the end.
    body: Option<Body>,
    json: Option<Converter>,
    /// How large messages are compressed.
    coding: Option<Coding>,
}

impl StreamBody {
    /// The answer in `body`. Its messages become JSON if their type is given, and large ones are
    /// compressed if there is a coding.
    pub(super) fn new(
        body: Body,
        message: Option<MessageDescriptor>,
        coding: Option<Coding>,
    ) -> Self {
        let json = message.map(|message| Converter {
            message,
            received: BytesMut::new(),
        });
        let body = Some(body);
        Self { body, json, coding }
    }

    /// The end of the stream, with the status and the metadata of these trailers.
    fn end(&mut self, trailers: &HeaderMap) -> Bytes {
        self.body = None;
        let lost = || Error::internal("a streamed answer ended without a status").into();
        let status = Status::from_header_map(trailers).unwrap_or_else(lost);
        let failed = (status.code() != Code::Ok).then_some(&status);
        error::end(failed, trailers)
    }

    /// The end of a stream that cannot go on.
    fn fail(&mut self, error: Error) -> Bytes {
        self.body = None;
        error::end(Some(&error.into()), &HeaderMap::new())
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            let frame = match ready!(Pin::new(body).poll_frame(context)) {
                Some(frame) => frame?.into_data(),
                None => {
                    let end = this.end(&HeaderMap::new());
                    return Poll::Ready(Some(Ok(Frame::data(end))));
                }
            };
            let coding = this.coding;
            let compressed = |data| match coding {
                Some(coding) => compress_large(coding, data),
                None => data,
            };
            let data = match (frame, &mut this.json) {
                (Ok(data), None) => compressed(data),
                (Ok(data), Some(json)) => match json.convert(data) {
                    Ok(converted) if converted.is_empty() => continue,
                    Ok(converted) => compressed(converted),
                    Err(error) => this.fail(error),
                },
                (Err(frame), _) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    this.end(&trailers)
                }
            };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }
}

/// Converts messages to JSON.
struct Converter {
    message: MessageDescriptor,
    /// The part of a message that has arrived.
    received: BytesMut,
}

impl Converter {
    /// The complete messages in the bytes so far, in envelopes.
    fn convert(&mut self, data: Bytes) -> Result<Bytes> {
        if self.received.is_empty() {
            let mut data = data;
            let converted = self.convert_complete(&mut data)?;
            self.received.extend_from_slice(&data);
            return Ok(converted);
        }
        self.received.extend_from_slice(&data);
        let mut received = std::mem::take(&mut self.received).freeze();
        let converted = self.convert_complete(&mut received)?;
        self.received.extend_from_slice(&received);
        Ok(converted)
    }

    /// Removes the complete messages from `data`.
    fn convert_complete(&self, data: &mut Bytes) -> Result<Bytes> {
        offload::run_in_place(data.len(), || {
            let mut out = Vec::with_capacity(2 * data.len());
            while let Some(prefix) = data.first_chunk().copied().map(Prefix::read)
                && let Some(message) = data.get(PREFIX_BYTES..PREFIX_BYTES + prefix.length)
            {
                let start = out.len();
                out.extend_from_slice(&[0; PREFIX_BYTES]);
                json::append(&self.message, message, &mut out)?;
                let length = out.len() - start - PREFIX_BYTES;
                let envelope = Prefix { flag: 0, length }.write();
                if let Some(place) = out.get_mut(start..start + PREFIX_BYTES) {
                    place.copy_from_slice(&envelope);
                }
                data.advance(PREFIX_BYTES + prefix.length);
            }
            Ok(out.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use http::HeaderValue;
    use http_body_util::{BodyExt, StreamBody as Frames};
    use prost::Message;

    use super::*;
    use crate::proto::v1::StreamChatCompletionResponse;

    const STREAM: &str = "/featherwire.v1.ChatService/StreamChatCompletion";

    fn frame(id: &str) -> Vec<u8> {
        let message = StreamChatCompletionResponse {
            id: id.to_owned(),
            ..StreamChatCompletionResponse::default()
        };
        let encoded = message.encode_to_vec();
        let length = u32::try_from(encoded.len()).unwrap().to_be_bytes();
        [&[0], &length[..], &encoded].concat()
    }

    /// What a caller receives of these pieces.
    fn received(pieces: Vec<Vec<u8>>, is_json: bool, trailers: Option<HeaderMap>) -> Vec<u8> {
        let pieces = pieces.into_iter().map(|piece| Frame::data(piece.into()));
        let frames = pieces.chain(trailers.map(Frame::trailers));
        let frames: Vec<_> = frames.map(Ok::<_, axum::Error>).collect();
        let message = is_json.then(|| json::method(STREAM).unwrap().output());
        let body = Body::new(Frames::new(stream::iter(frames).boxed()));
        let collected = StreamBody::new(body, message, None)
            .collect()
            .now_or_never();
        collected.unwrap().unwrap().to_bytes().to_vec()
    }

    fn ok() -> Option<HeaderMap> {
        let status = (
            "grpc-status".parse().unwrap(),
            HeaderValue::from_static("0"),
        );
        Some(HeaderMap::from_iter([status]))
    }

    #[test]
    fn binary_messages_pass_as_they_are_and_json_is_converted_however_it_is_split() {
        let both = [frame("a"), frame("b")].concat();
        let end = b"\x02\0\0\0\x02{}";
        let expected = [&both[..], end].concat();
        assert_eq!(received(vec![both.clone()], false, ok()), expected);
        let json = b"\0\0\0\0\x0a{\"id\":\"a\"}\0\0\0\0\x0a{\"id\":\"b\"}";
        let expected = [&json[..], end].concat();
        for bytes in 1..=both.len() {
            let pieces = both.chunks(bytes).map(<[u8]>::to_vec).collect();
            assert_eq!(received(pieces, true, ok()), expected, "{bytes}");
        }
    }

    #[test]
    fn a_stream_without_a_status_ends_with_an_error() {
        for is_json in [false, true] {
            let received = received(vec![frame("a")], is_json, None);
            let end = received.iter().rposition(|byte| *byte == 2).unwrap();
            let end: serde_json::Value = serde_json::from_slice(&received[end + 5..]).unwrap();
            assert_eq!(end["error"]["code"], "internal", "{end}");
        }
    }
}
