//! A request whose messages are decompressed on their way.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tonic::Status;

use crate::{
    coding::{Coding, Undecodable},
    error::{Error, ErrorCode, Result},
    grpc::{
        frames::Rules,
        prefixes::{PREFIX_BYTES, Prefix},
    },
    service::inflight_bytes::Share,
};

/// Gives the frames of another body, each message decompressed. What that body gives must be frames
/// that [`Frames`](crate::grpc::frames::Frames) has seen: no message in it is larger than is
/// allowed.
pub(in crate::grpc) struct Unpacked {
    body: Body,
    coding: Coding,
    rules: Rules,
    /// What is in memory here, among all bodies; none where they are small.
    share: Option<Arc<Share>>,
    /// What has come of a frame that has not come whole.
    received: BytesMut,
    unpacking: Option<Unpacking>,
    /// A message that is being given on, in pieces, so that its beginning is gone before its end is
    /// copied.
    pieces: VecDeque<Bytes>,
}

type Unpacking = Pin<Box<dyn Future<Output = Result<VecDeque<Bytes>>> + Send>>;

impl Unpacked {
    pub(in crate::grpc) fn new(
        body: Body,
        coding: Coding,
        rules: Rules,
        share: Option<Arc<Share>>,
    ) -> Self {
        let (received, pieces) = (BytesMut::new(), VecDeque::new());
        Self {
            body,
            coding,
            rules,
            share,
            received,
            unpacking: None,
            pieces,
        }
    }

    fn count(&self, bytes: usize) -> Result<()> {
        self.share.as_ref().map_or(Ok(()), |share| share.add(bytes))
    }

    fn give_back(&self, bytes: usize) {
        self.share.iter().for_each(|share| share.give_back(bytes));
    }

    /// Takes the next frame, if it has come whole.
    fn next(&mut self) -> Option<(bool, Bytes)> {
        let Prefix { flag, length } = Prefix::read(*self.received.first_chunk()?);
        let bytes = PREFIX_BYTES
            .checked_add(length)
            .filter(|bytes| *bytes <= self.received.len())?;
        // An empty message needs no compressing, whatever its flag says.
        Some((
            flag == 1 && length > 0,
            self.received.split_to(bytes).freeze(),
        ))
    }
}

impl HttpBody for Unpacked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(piece) = this.pieces.pop_front() {
                this.give_back(piece.len());
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if let Some(unpacking) = &mut this.unpacking {
                let unpacked = ready!(unpacking.as_mut().poll(context));
                this.unpacking = None;
                this.pieces = unpacked.map_err(Status::from)?;
            } else if let Some((is_compressed, frame)) = this.next() {
                if is_compressed {
                    this.unpacking = Some(Box::pin(unpack(
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
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    Bytes::from([&[0], &length[..]].concat())
}

/// A frame without compression: its prefix, and its message in pieces.
async fn unpack(
    frame: Bytes,
    coding: Coding,
    rules: Rules,
    share: Option<Arc<Share>>,
) -> Result<VecDeque<Bytes>> {
    let count = |bytes: usize| share.as_ref().map_or(Ok(()), |share| share.add(bytes));
    let mut pieces = VecDeque::new();
    let message = frame.get(PREFIX_BYTES..).unwrap_or_default();
    let take = |piece: &[u8]| {
        count(piece.len())?;
        pieces.push_back(Bytes::copy_from_slice(piece));
        Ok(())
    };
    match coding.decode(message, rules.bytes_max, take).await {
        Ok(()) => {
            count(PREFIX_BYTES)?;
            pieces.push_front(prefix_of(pieces.iter().map(Bytes::len).sum()));
            share.iter().for_each(|share| share.give_back(frame.len()));
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
                "A message can't be decompressed as grpc-encoding says ({name}): {problem}"
            );
            let error = Error::new(ErrorCode::InvalidGrpcEncoding, message);
            Err(source
                .into_iter()
                .fold(error, |error, source| error.with_source(source)))
        }
    }
}
