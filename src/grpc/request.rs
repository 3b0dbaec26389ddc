//! What the messages of a gRPC request may be, told in the gateway's own words before tonic reads
//! them: as many as the method takes, each in a frame that is one, whole, compressed only in ways
//! that are understood here, and not too large, also when it is decompressed. How slow they may
//! come is [`read_timeout`](super::read_timeout)'s business, which lies before this.

use std::{
    error::Error as _,
    mem,
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
use http_body::Frame;
use tonic::Status;

use super::{
    compression::{self, request::Unpacked},
    frames::{Frames, Rules},
    methods::Methods,
};
use crate::{
    error::{Error, ErrorCode, Result},
    service::{call, inflight_bytes::Bodies},
};

/// How the messages of some services are checked.
#[derive(Clone)]
pub(crate) struct Checks {
    /// The largest message, in bytes, as it is sent and when it is decompressed.
    bytes_max: usize,
    /// What to do about a larger one.
    advice: &'static str,
    methods: Arc<Methods>,
    /// Where what is decompressed is counted.
    bodies: Option<Bodies>,
}

impl Checks {
    /// For services that need a key, when there are keys.
    pub(crate) fn guarded(bytes_max: usize, methods: &Arc<Methods>, bodies: &Bodies) -> Self {
        let advice = "send less, or raise --max-request-bytes";
        Self {
            bytes_max,
            advice,
            methods: Arc::clone(methods),
            bodies: Some(bodies.clone()),
        }
    }

    /// For services that need none.
    pub(crate) fn open(bytes_max: usize, methods: &Arc<Methods>) -> Self {
        let advice = "a message to this service is a short name";
        Self {
            bytes_max,
            advice,
            methods: Arc::clone(methods),
            bodies: None,
        }
    }

    /// Refuses what a request's head tells already, and has the messages checked, and decompressed,
    /// as they come.
    pub(crate) fn check(&self, request: &mut Request) -> Result<()> {
        let rules = self.rules(request)?;
        compression::forget(request.headers_mut());
        let body = Body::new(Messages {
            body: mem::take(request.body_mut()),
            frames: Frames::new(rules),
        });
        *request.body_mut() = match rules.coding {
            Some(coding) => Body::new(Unpacked::new(
                body,
                coding,
                rules,
                self.bodies.as_ref().map(Bodies::share),
            )),
            None => body,
        };
        Ok(())
    }

    /// What a request's head says of its messages.
    fn rules(&self, request: &Request) -> Result<Rules> {
        let timeout = call::timeout(request.headers())?;
        // It would be too late whatever comes of it.
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::deadline_exceeded("the request had arrived"));
        }
        let is_stream = self.methods.find(request.uri().path())?.takes_stream;
        let coding = compression::of(request.headers())?;
        Ok(Rules {
            bytes_max: self.bytes_max,
            advice: self.advice,
            is_stream,
            coding,
        })
    }
}

/// A request's body, watched for the frames that it consists of.
struct Messages {
    body: Body,
    frames: Frames,
}

impl Messages {
    /// Reads what has come, or its end.
    fn read(&mut self, frame: Option<&Frame<Bytes>>) -> Result<()> {
        match frame.map(Frame::data_ref) {
            Some(Some(data)) => self.frames.read(data),
            // Trailers are the last frame there is, and the end comes after them.
            Some(None) => Ok(()),
            None => self.frames.end(),
        }
    }
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)).transpose() {
            Ok(frame) => frame,
            Err(error) if is_told(&error) => return Poll::Ready(Some(Err(error.into()))),
            Err(error) => return Poll::Ready(Some(Err(Status::from(broken_off(error)).into()))),
        };
        let read = this
            .read(frame.as_ref())
            .map_err(|error| Status::from(error).into());
        Poll::Ready(read.map(|()| frame).transpose())
    }
}

/// Whether a body's error is one of ours already.
fn is_told(error: &axum::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error
            .downcast_ref::<Status>()
            .is_some_and(|status| !status.details().is_empty())
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// The rest of a request can't be had.
fn broken_off(source: axum::Error) -> Error {
    let message =
        "The request broke off before its end, or (application/grpc-web-text) is not base64";
    Error::new(ErrorCode::IncompleteBody, message).with_source(source)
}
