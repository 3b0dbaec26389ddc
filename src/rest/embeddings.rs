//! `POST /v1/embeddings`.

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{Inside, answer, request};
use crate::{error::Error, service::Call};

/// Turns texts into vectors.
pub async fn create(State((services, limit)): State<Inside>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let request = call.refuse(request::read(&call, &head.headers, body, limit).await)?;
        let reply = services.embeddings.create(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}
