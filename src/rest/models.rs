//! `GET /v1/models` and `GET /v1/models/{org}/{name}`.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use http::{HeaderMap, Uri};

use super::answer;
use crate::{
    error::{Error, Result},
    proto::v1::GetModelRequest,
    service::{Call, Models},
};

type Pairs = Vec<(String, String)>;

/// The catalogue, with the upstream's own query parameters: `q`, `page`, `per_page`, `family`, `tags`,
/// `available_on_current_plan`.
pub async fn list(State(models): State<Models>, headers: HeaderMap, uri: Uri) -> Response {
    let answer = async {
        let call = Call::new(&headers)?;
        let query: Query<Pairs> = Query::try_from_uri(&uri)
            .map_err(|error| Error::invalid("query", "expected name=value&…").with_source(error))?;
        let query: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = models.list_all(call, &query).await?;
        Ok(answer(&reply.answer, reply.request_id))
    };
    answer.await.unwrap_or_else(Error::into_response)
}

/// One model by organisation and name.
pub async fn get(
    State(models): State<Models>,
    Path((org, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    find(&models, format!("{org}/{name}"), &headers).await.unwrap_or_else(Error::into_response)
}

/// One model by an id in one path segment: `org%2Fname`, as OpenAI's SDKs write it.
pub async fn get_by_name(State(models): State<Models>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    find(&models, id, &headers).await.unwrap_or_else(Error::into_response)
}

async fn find(models: &Models, model: String, headers: &HeaderMap) -> Result<Response> {
    let call = Call::new(headers)?;
    let reply = models.get(call, GetModelRequest { model }).await?;
    Ok(answer(&reply.answer, reply.request_id))
}
