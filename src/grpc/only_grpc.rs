//! The first step of the gRPC door: checks that a request is gRPC and names a known method, and
//! translates gRPC-Web and Connect. Later steps would refuse other requests without an explanation.

use std::{convert::Infallible, future::Future};

use axum::{body::Body as AxumBody, extract::Request, response::Response};
use futures_util::FutureExt;
use http::{Method, Version, header};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, service_fn};

use super::{
    compression::encoding,
    connect,
    content_type::Form,
    methods::Methods,
    request::MessageChecks,
    response::{explain, refuse, refuse_form},
};
use crate::{
    error::{Error, ErrorCode},
    service::Door,
};

/// Passes requests to known methods to `next`, as gRPC, and refuses all others. `checks` are those
/// of `next`.
pub(crate) async fn only_grpc<F: Future<Output = Response>>(
    checks: &MessageChecks,
    mut request: Request,
    mut next: impl FnMut(Request) -> F,
) -> Response {
    let form = match check(checks.methods(), &mut request) {
        Ok(Some(form)) => form,
        // In memory of its own, because this case is rarer.
        Ok(None) => return Box::pin(connect::translate(checks, request, next)).await,
        Err(refusal) => return *refusal,
    };
    let response = match form {
        // Not through tonic's layer for gRPC-Web, which would box both bodies once more.
        Form::Grpc => next(request).await,
        Form::Web | Form::WebText => {
            request.extensions_mut().insert(Door::GrpcWeb);
            let next = service_fn(|request: http::Request<Body>| {
                next(request.map(AxumBody::new)).map(Ok::<_, Infallible>)
            });
            // In memory of its own, because this case is rarer.
            match Box::pin(GrpcWebLayer::new().layer(next).call(request)).await {
                Ok(response) => response.map(AxumBody::new),
                Err(impossible) => match impossible {},
            }
        }
    };
    let mut response = explain(response);
    encoding::announce(response.headers_mut());
    response
}

/// The form of a request, whose headers get the one name of it that later steps know. `None` if it
/// is not gRPC.
///
/// # Errors
/// The response that refuses it.
fn check(methods: &Methods, request: &mut Request) -> Result<Option<Form>, Box<Response>> {
    let form = match Form::in_header(request.headers(), header::CONTENT_TYPE) {
        Ok(Some(form)) => form,
        Ok(None) => return Ok(None),
        Err(error) => return Err(Box::new(refuse_form(error))),
    };
    let refused = |error| Err(Box::new(refuse(error, request.headers())));
    if request.method() != Method::POST
        || (form == Form::Grpc && request.version() != Version::HTTP_2)
    {
        let message = "gRPC is POST over HTTP/2; gRPC-Web (application/grpc-web+proto) is POST \
                       over any version";
        return refused(Error::new(ErrorCode::NotGrpc, message));
    }
    if let Err(error) = methods.find(request.uri().path()) {
        return refused(error);
    }
    let accepted = Form::accepted(request.headers());
    let headers = request.headers_mut();
    let media_type = form.media_type();
    if headers.get(header::CONTENT_TYPE) != Some(&media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    if let Some(accepted) = accepted {
        headers.insert(header::ACCEPT, accepted.media_type());
    }
    Ok(Some(form))
}
