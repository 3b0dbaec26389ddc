//! The first step of the gRPC door: checks that a request is gRPC and names a known method. Later
//! steps would refuse other requests without an explanation.

use std::{convert::Infallible, future::Future};

use axum::{body::Body as AxumBody, extract::Request, response::Response};
use futures_util::FutureExt;
use http::{Method, Version, header};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, service_fn};

use super::{
    compression::encoding,
    content_type::Form,
    methods::Methods,
    response::{explain, refuse, refuse_form},
};
use crate::{
    error::{Error, ErrorCode},
    service::Door,
};

/// Passes gRPC and gRPC-Web requests to known methods to `next`, as gRPC, and refuses all others.
pub(crate) async fn only_grpc<F: Future<Output = Response>>(
    methods: &Methods,
    mut request: Request,
    mut next: impl FnMut(Request) -> F,
) -> Response {
    let form = match check(methods, &mut request) {
        Ok(form) => form,
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

/// The form of a request, whose headers get the one name of it that later steps know.
///
/// # Errors
/// The response that refuses it.
fn check(methods: &Methods, request: &mut Request) -> Result<Form, Box<Response>> {
    let form = match Form::in_header(request.headers(), header::CONTENT_TYPE) {
        Ok(Some(form)) => form,
        Ok(None) => {
            let path = request.uri().path();
            let message = format!(
                "{path} is a gRPC method: call it by gRPC or gRPC-Web. For JSON there is {}",
                json_path(path)
            );
            let error = Error::new(ErrorCode::UnsupportedMediaType, message);
            return Err(Box::new(error.into_response()));
        }
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
    Ok(form)
}

/// What a caller with JSON calls instead of this gRPC path.
fn json_path(path: &str) -> &'static str {
    match path.trim_start_matches('/').split('/').next() {
        Some("featherwire.admin.v1.KeyService") => "/admin/v1/keys",
        Some("featherwire.admin.v1.UsageService") => "/admin/v1/usage and /admin/v1/calls",
        Some("featherwire.v1.CallerService") => "GET /v1/key and GET /v1/usage",
        _ => "POST /v1/chat/completions",
    }
}
