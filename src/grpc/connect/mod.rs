//! Connect, a form of the same calls that plain HTTP clients can speak. A request becomes a request
//! of gRPC in this process, which passes the same steps and the same services, and its response
//! becomes one of Connect. So all rules of the gRPC door hold here without a second implementation.
//!
//! Binary messages are not touched: the envelopes of Connect's streams are the frames of gRPC, and
//! the body of a unary request gets the five bytes before it. Only JSON is converted, in the stock
//! mapping of protobuf. It is another dialect than OpenAI's, which the REST door has.
//!
//! - `form`: which codec a content type names, and whether it is a stream.
//! - `request`: the head of a request; `query` is the request of a `GET`. `bare_body` frames the
//!   body of a unary request, `json_body` converts a message of JSON.
//! - `response`: the response to a unary call; `stream` is the body of a streamed one.
//! - `error`: errors in Connect's JSON.
//! - `json`: the conversion, by the descriptors of the contract.

mod bare_body;
mod error;
mod form;
mod json;
mod json_body;
mod query;
mod request;
mod response;
mod stream;

use std::future::Future;

use axum::{extract::Request, response::Response};
use http::header;

use self::{error::Refusal, form::Form};
use super::{methods::Methods, request::MessageChecks, response::explain};
use crate::error::Error;

/// Translates a request that is not of gRPC, passes it to `next`, and translates the response.
/// Refuses what is not Connect either.
pub(super) async fn translate<F: Future<Output = Response>>(
    checks: &MessageChecks,
    request: Request,
    mut next: impl FnMut(Request) -> F,
) -> Response {
    match request::translate(checks, request) {
        Ok((request, answer)) => {
            let response = explain(next(request).await);
            response::translate(answer, response).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// `error` as the response to a request of Connect.
pub(crate) fn refuse<B>(error: Error, request: &http::Request<B>) -> Response {
    let form = Form::in_header(request.headers(), &header::CONTENT_TYPE);
    Refusal::new(error, form).into_response()
}

/// The response to a request of Connect whose path no route has.
pub(crate) fn unknown_method(methods: &Methods, request: &Request) -> Response {
    let form = Form::in_header(request.headers(), &header::CONTENT_TYPE);
    let refusal = match methods.find(request.uri().path()) {
        Err(error) => Refusal::not_found(error, form),
        // The router has a route for each method.
        Ok(_) => Refusal::new(Error::internal("a method without a route"), form),
    };
    refusal.into_response()
}
