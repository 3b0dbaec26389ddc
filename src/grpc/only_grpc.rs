//! The first layer of the gRPC door: checks that a request is gRPC and names a known method. Later
//! layers would refuse other requests without an explanation.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{Method, Version, header};

use super::{
    compression::encoding,
    content_type::Form,
    methods::Methods,
    response::{explain, refuse, refuse_form},
};
use crate::error::{Error, ErrorCode};

/// Passes gRPC and gRPC-Web requests to known methods, and refuses all others.
pub(crate) async fn only_grpc(
    State(methods): State<Arc<Methods>>,
    mut request: Request,
    next: Next,
) -> Response {
    let form = match Form::in_header(request.headers(), header::CONTENT_TYPE) {
        Ok(Some(form)) => form,
        Ok(None) => {
            let message = format!(
                "{} is a gRPC method: call it by gRPC or gRPC-Web. For JSON there is POST \
                 /v1/chat/completions",
                request.uri().path()
            );
            return Error::new(ErrorCode::UnsupportedMediaType, message).into_response();
        }
        Err(error) => return refuse_form(error),
    };
    if request.method() != Method::POST
        || (form == Form::Grpc && request.version() != Version::HTTP_2)
    {
        let message = "gRPC is POST over HTTP/2; gRPC-Web (application/grpc-web+proto) is POST \
                       over any version";
        let error = Error::new(ErrorCode::NotGrpc, message);
        return refuse(error, request.headers());
    }
    if let Err(error) = methods.find(request.uri().path()) {
        return refuse(error, request.headers());
    }
    // Later layers know only one name of each form.
    let accepted = Form::accepted(request.headers());
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, form.media_type());
    if let Some(accepted) = accepted {
        headers.insert(header::ACCEPT, accepted.media_type());
    }
    let mut response = explain(next.run(request).await);
    encoding::announce(response.headers_mut());
    response
}
