//! A request body whose messages are decompressed as they arrive.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::BoxError;
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use tonic::Status;

use crate::{
    coding::{Coding, Undecodable},
    error::{Error, ErrorCode, Result},
    grpc::{
        message_rules::MessageRules,
        message_scanner::{PREFIX_BYTES, Prefix},
    },
    service::inflight_bytes::{ByteShare, ScratchBytes},
};

/// Yields the messages of another body, each decompressed. That body must have passed a
/// [`MessageValidator`](crate::grpc::message_rules::MessageValidator): no message in it is larger
/// than allowed.
pub(crate) struct DecompressedBody<B> {
    body: B,
    coding: Coding,
    rules: MessageRules,
    /// Counts the bytes of this body in memory. `None` for methods with small messages.
    share: Option<Arc<ByteShare>>,
    /// The part of a message that has arrived.
    received: BytesMut,
    decompressing: Option<Decompressing>,
    /// The message that is being yielded, in pieces, so that its beginning is dropped before its
    /// end is copied.
    pieces: VecDeque<Bytes>,
}

type Decompressing = Pin<Box<dyn Future<Output = Result<VecDeque<Bytes>>> + Send>>;

impl<B> DecompressedBody<B> {
    pub(in crate::grpc) fn new(
        body: B,
        coding: Coding,
        rules: MessageRules,
        share: Option<Arc<ByteShare>>,
    ) -> Self {
        let (received, pieces) = (BytesMut::new(), VecDeque::new());
        Self {
            body,
            coding,
            rules,
            share,
            received,
            decompressing: None,
            pieces,
        }
    }

    fn count(&self, bytes: usize) -> Result<()> {
        self.share.as_ref().map_or(Ok(()), |share| share.add(bytes))
    }

    fn subtract(&self, bytes: usize) {
        self.share.iter().for_each(|share| share.subtract(bytes));
    }

    /// Removes the next message with its prefix, if it has arrived completely.
    fn next(&mut self) -> Option<(bool, Bytes)> {
        let Prefix { flag, length } = Prefix::read(*self.received.first_chunk()?);
        let bytes = PREFIX_BYTES
            .checked_add(length)
            .filter(|bytes| *bytes <= self.received.len())?;
        // An empty message is not compressed, even if its flag is set.
        Some((
            flag == 1 && length > 0,
            self.received.split_to(bytes).freeze(),
        ))
    }
}

impl<B> HttpBody for DecompressedBody<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(piece) = this.pieces.pop_front() {
                this.subtract(piece.len());
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if let Some(decompressing) = &mut this.decompressing {
                let decompressed = ready!(decompressing.as_mut().poll(context));
                this.decompressing = None;
                this.pieces = decompressed.map_err(Status::from)?;
            } else if let Some((is_compressed, frame)) = this.next() {
                if is_compressed {
                    this.decompressing = Some(Box::pin(decompress(
                        frame,
                        this.coding,
                        this.rules,
                        this.share.clone(),
                    )));
                } else {
                    let mut prefix = frame;
                    let message = prefix.split_off(PREFIX_BYTES);
                    this.pieces.extend([prefix_of(message.len()), message]);
                }
            } else {
                match ready!(Pin::new(&mut this.body).poll_frame(context)?) {
                    Some(frame) => match frame.into_data() {
                        Ok(data) => {
                            this.count(data.len()).map_err(Status::from)?;
                            this.received.extend_from_slice(&data);
                        }
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    },
                    None => return Poll::Ready(None),
                }
            }
        }
    }
}

fn prefix_of(length: usize) -> Bytes {
    Bytes::copy_from_slice(&Prefix { flag: 0, length }.write())
}

/// The message without compression: its prefix, and its bytes in pieces.
async fn decompress(
    frame: Bytes,
    coding: Coding,
    rules: MessageRules,
    share: Option<Arc<ByteShare>>,
) -> Result<VecDeque<Bytes>> {
    let count = |bytes: usize| share.as_ref().map_or(Ok(()), |share| share.add(bytes));
    let mut pieces = VecDeque::new();
    let message = frame.get(PREFIX_BYTES..).unwrap_or_default();
    let mut scratch = ScratchBytes::of(share.as_deref());
    let hold = |bytes| scratch.grow_to(bytes);
    let take = |piece: &[u8]| {
        count(piece.len())?;
        pieces.push_back(Bytes::copy_from_slice(piece));
        Ok(())
    };
    let decoded = coding.decode(message, rules.bytes_max, hold, take).await;
    match decoded {
        Ok(()) => {
            count(PREFIX_BYTES)?;
            pieces.push_front(prefix_of(pieces.iter().map(Bytes::len).sum()));
            share.iter().for_each(|share| share.subtract(frame.len()));
            Ok(pieces)
        }
        Err(Undecodable::Refused(error)) => Err(error),
        Err(Undecodable::TooLarge) => Err(rules.too_large(&format!(
            "takes more than {} bytes when it is decompressed",
            rules.bytes_max
        ))),
        Err(Undecodable::Broken(problem, source)) => {
            let name = coding.name();
            let message = format!(
                "A message cannot be decompressed as {name}, the coding that its request names: {problem}"
            );
            let error = Error::new(ErrorCode::InvalidGrpcEncoding, message);
            Err(source
                .into_iter()
                .fold(error, |error, source| error.with_source(source)))
        }
    }
}
