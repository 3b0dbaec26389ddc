//! Checks the messages of a gRPC request before they are decoded: their number, prefixes,
//! compression and size. The errors are the gateway's own. The earlier layer
//! [`read_timeout`](super::read_timeout) limits the time of their arrival.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame};
use http_body_util::Either;
use tonic::Status;

use super::{
    admin,
    compression::{encoding, request::DecompressedBody},
    message_rules::{MessageRules, MessageValidator},
    methods::Methods,
};
use crate::{
    coding::Coding,
    error::{Error, ErrorCode, Result},
    service::inflight_bytes::{ByteShare, InflightBytes},
};

/// The checks of the messages of some services.
#[derive(Clone)]
pub(crate) struct MessageChecks {
    /// The largest message, in bytes, before and after decompression.
    bytes_max: usize,
    /// The advice in the error for a larger message.
    advice: &'static str,
    methods: Arc<Methods>,
    /// Counts what is decompressed.
    inflight: Option<InflightBytes>,
}

impl MessageChecks {
    /// Checks for services that need a key, if the gateway has keys.
    pub(crate) fn guarded(
        bytes_max: usize,
        methods: &Arc<Methods>,
        inflight: &InflightBytes,
    ) -> Self {
        let advice = "send less, or raise --max-request-bytes";
        Self {
            bytes_max,
            advice,
            methods: Arc::clone(methods),
            inflight: Some(inflight.clone()),
        }
    }

    /// Checks for the administration.
    pub(crate) fn admin(methods: &Arc<Methods>, inflight: &InflightBytes) -> Self {
        Self {
            bytes_max: admin::MESSAGE_BYTES_MAX,
            advice: "a message of the administration is the settings of one key",
            methods: Arc::clone(methods),
            inflight: Some(inflight.clone()),
        }
    }

    /// Checks for services that need no key, with messages of at most `bytes_max` bytes.
    pub(crate) fn open(bytes_max: usize, methods: &Arc<Methods>) -> Self {
        let advice = "a message to this service is a short name";
        Self {
            bytes_max,
            advice,
            methods: Arc::clone(methods),
            inflight: None,
        }
    }

    /// Adds the checks and the decompression to the body of a request, by its `rules`.
    pub(crate) fn apply<B>(
        &self,
        rules: MessageRules,
        mut request: Request<B>,
    ) -> Request<MessageBody<B>> {
        encoding::remove(request.headers_mut());
        request.map(|body| self.checked(rules, body))
    }

    /// Adds the checks and the decompression to a body.
    pub(super) fn checked<B>(&self, rules: MessageRules, body: B) -> MessageBody<B> {
        let body = CheckedBody {
            body,
            validator: MessageValidator::new(rules),
        };
        match rules.coding {
            None => Either::Left(body),
            // In memory of its own, because it is rare.
            Some(coding) => Either::Right(Box::new(DecompressedBody::new(
                body,
                coding,
                rules,
                self.share(),
            ))),
        }
    }

    /// Counts the bytes of one body in memory. `None` for methods with small messages.
    pub(super) fn share(&self) -> Option<Arc<ByteShare>> {
        self.inflight.as_ref().map(InflightBytes::share)
    }

    /// The methods of the gateway.
    pub(crate) fn methods(&self) -> &Methods {
        &self.methods
    }

    /// The rules for a request with one message.
    pub(super) fn rules_of_one(&self, coding: Option<Coding>) -> MessageRules {
        MessageRules {
            bytes_max: self.bytes_max,
            advice: self.advice,
            is_stream: false,
            coding,
        }
    }

    /// The rules for the messages of a request with this `timeout` of its caller, from its headers.
    ///
    /// # Errors
    /// [`Kind::Timeout`](crate::error::Kind::Timeout) if the caller's deadline has passed;
    /// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod) for an unknown method or coding.
    pub(crate) fn rules<B>(
        &self,
        request: &Request<B>,
        timeout: Option<Duration>,
    ) -> Result<MessageRules> {
        // The answer would be too late in any case.
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Error::deadline_exceeded("the request had arrived"));
        }
        let is_stream = self.methods.find(request.uri().path())?.takes_stream;
        let coding = encoding::of(request.headers())?;
        Ok(MessageRules {
            is_stream,
            ..self.rules_of_one(coding)
        })
    }
}

/// A request body whose messages are checked and, if they have a coding, decompressed.
pub(crate) type MessageBody<B> = Either<CheckedBody<B>, Box<DecompressedBody<CheckedBody<B>>>>;

/// A request body whose messages are checked.
pub(crate) struct CheckedBody<B> {
    body: B,
    validator: MessageValidator,
}

impl<B> CheckedBody<B> {
    /// Checks the next frame of the body, or its end.
    fn read(&mut self, frame: Option<&Frame<Bytes>>) -> Result<()> {
        match frame.map(Frame::data_ref) {
            Some(Some(data)) => self.validator.read(data),
            // Trailers are the last frame. The end follows them.
            Some(None) => Ok(()),
            None => self.validator.end(),
        }
    }
}

impl<B> HttpBody for CheckedBody<B>
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
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)).transpose() {
            Ok(frame) => frame,
            Err(error) if is_own_error(&error) => return Poll::Ready(Some(Err(unwrapped(error)))),
            Err(error) => return Poll::Ready(Some(Err(Status::from(incomplete(error)).into()))),
        };
        let read = this
            .read(frame.as_ref())
            .map_err(|error| Status::from(error).into());
        Poll::Ready(read.map(|()| frame).transpose())
    }
}

/// Whether the error of a body is the gateway's own.
fn is_own_error(error: &BoxError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<Status>()
            .is_some_and(|status| !status.details().is_empty())
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error inside the one of a boxed body.
fn unwrapped(error: BoxError) -> BoxError {
    match error.downcast::<axum::Error>() {
        Ok(error) => error.into_inner(),
        Err(error) => error,
    }
}

/// The error for an incomplete request.
fn incomplete(source: BoxError) -> Error {
    let message = "The request is incomplete, or (application/grpc-web-text) it is not base64";
    Error::new(ErrorCode::IncompleteBody, message).with_source(source)
}
