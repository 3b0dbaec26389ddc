//! `POST /v1/embeddings`.

use axum::{extract::State, response::Response};

use super::{request::Json, response, state::RestState};
use crate::{error::Result, proto::v1::CreateEmbeddingRequest};

/// Computes vectors for texts.
pub(super) async fn create(
    State(state): State<RestState>,
    Json { call, message }: Json<CreateEmbeddingRequest>,
) -> Result<Response> {
    response::json(state.services.embeddings.create(call, message).await?)
}
