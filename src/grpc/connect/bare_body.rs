//! The body of a unary request: one message, without an envelope. gRPC has its length before it, so
//! a body without `content-length` is collected first.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{BoxError, body::Body};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;

use crate::{
    error::Result,
    grpc::{
        message_rules::MessageRules,
        message_scanner::{PREFIX_BYTES, Prefix},
    },
    service::inflight_bytes::ByteShare,
};

/// The message of a body as one frame of gRPC.
pub(super) struct BareBody {
    body: Body,
    rules: MessageRules,
    /// Counts the bytes that are collected.
    share: Option<Arc<ByteShare>>,
    state: State,
}

enum State {
    /// Nothing has been read.
    Start,
    /// The length is not known.
    Collecting {
        pieces: VecDeque<Bytes>,
        bytes: usize,
    },
    /// The prefix has been yielded, and the body follows.
    Passing,
    /// All bytes have been collected.
    Yielding(VecDeque<Bytes>),
}

impl BareBody {
    /// The frame of `body`, whose message is compressed if the `rules` have a coding.
    pub(super) fn new(body: Body, rules: MessageRules, share: Option<Arc<ByteShare>>) -> Self {
        Self {
            body,
            rules,
            share,
            state: State::Start,
        }
    }

    fn prefix(&self, bytes: usize) -> Bytes {
        let flag = u8::from(self.rules.coding.is_some());
        Bytes::copy_from_slice(
            &Prefix {
                flag,
                length: bytes,
            }
            .write(),
        )
    }

    fn count(&self, bytes: usize) -> Result<()> {
        self.share.as_ref().map_or(Ok(()), |share| share.add(bytes))
    }

    /// Reads the next bytes of a body of unknown length.
    ///
    /// # Errors
    /// [`Kind::TooLarge`](crate::error::Kind::TooLarge) beyond the limit.
    fn collect(&mut self, data: Option<Bytes>) -> Result<()> {
        let State::Collecting { pieces, bytes } = &mut self.state else {
            return Ok(());
        };
        let Some(data) = data else {
            let (mut pieces, bytes) = (std::mem::take(pieces), *bytes);
            pieces.push_front(self.prefix(bytes));
            self.state = State::Yielding(pieces);
            return Ok(());
        };
        *bytes += data.len();
        if *bytes > self.rules.bytes_max {
            let what = format!("takes more than {} bytes", self.rules.bytes_max);
            return Err(self.rules.too_large(&what));
        }
        let length = data.len();
        pieces.push_back(data);
        self.count(length)
    }
}

impl HttpBody for BareBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Start => match this.body.size_hint().exact() {
                    Some(bytes) => {
                        let prefix = this.prefix(usize::try_from(bytes).unwrap_or(usize::MAX));
                        this.state = State::Passing;
                        return Poll::Ready(Some(Ok(Frame::data(prefix))));
                    }
                    None => {
                        let (pieces, bytes) = (VecDeque::new(), 0);
                        this.state = State::Collecting { pieces, bytes };
                    }
                },
                State::Collecting { .. } => {
                    let frame = ready!(Pin::new(&mut this.body).poll_frame(context)?);
                    match frame.map(Frame::into_data) {
                        Some(Ok(data)) => this.collect(Some(data)).map_err(Status::from)?,
                        // Connect has no trailers.
                        Some(Err(_)) => {}
                        None => this.collect(None).map_err(Status::from)?,
                    }
                }
                State::Passing => {
                    let frame = ready!(Pin::new(&mut this.body).poll_frame(context)?);
                    match frame.map(Frame::into_data) {
                        Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Some(Err(_)) => {}
                        None => return Poll::Ready(None),
                    }
                }
                State::Yielding(pieces) => {
                    let piece = pieces.pop_front();
                    // From here on, the steps that read this body count it.
                    if let (Some(piece), Some(share)) = (&piece, &this.share) {
                        share.subtract(piece.len().min(share.bytes()));
                    }
                    return Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))));
                }
            }
        }
    }
}

/// A frame of gRPC with this message.
pub(super) fn frame(message: &[u8], is_compressed: bool) -> Bytes {
    let prefix = Prefix {
        flag: u8::from(is_compressed),
        length: message.len(),
    };
    let mut frame = Vec::with_capacity(PREFIX_BYTES + message.len());
    frame.extend_from_slice(&prefix.write());
    frame.extend_from_slice(message);
    frame.into()
}
