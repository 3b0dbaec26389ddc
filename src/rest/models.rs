//! `GET /v1/models`, `GET /v1/models/{org}/{name}` and `POST /v1/tokenize`.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Uri, header};

use super::{
    compression,
    paging::ModelsQuery,
    request::Json,
    response::{self, with_body},
    state::RestState,
};
use crate::{
    coding::Accepted,
    error::{Error, Result},
    proto::v1::{GetModelRequest, TokenizeRequest},
    service::{Call, Reply, models::WholeCatalogue},
};

/// The catalogue: complete, as it is cached; one page of it; or what matches the upstream's own
/// search.
pub(super) async fn list(
    State(state): State<RestState>,
    call: Call,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let models = &state.services.models;
    match call.run_part(async { ModelsQuery::read(&uri) }).await? {
        ModelsQuery::Complete => {
            let accepted = Accepted::of_http(&headers);
            Ok(complete_catalogue(models.whole(call, accepted).await?))
        }
        ModelsQuery::Page(request) => {
            let list = models.list(call, request).await?;
            let age = HeaderValue::from(list.age_ms / 1000);
            let mut response = response::json(Reply::new(list))?;
            response.headers_mut().insert(header::AGE, age);
            Ok(response)
        }
        ModelsQuery::Search(query) => response::json(models.search(call, &query).await?),
    }
}

/// The cached JSON text. It has several MB, and is neither copied nor compressed for each caller.
fn complete_catalogue(catalogue: WholeCatalogue) -> Response {
    let coding = catalogue.coding;
    let mut response = with_body(catalogue.list.into(), "application/json", HeaderMap::new());
    response
        .headers_mut()
        .insert(header::AGE, HeaderValue::from(catalogue.age.as_secs()));
    if let Some(coding) = coding {
        let coding = HeaderValue::from_static(coding.name());
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, coding);
    }
    compression::vary(&mut response);
    response
}

/// One model, by its organisation and name.
pub(super) async fn get(
    state: State<RestState>,
    path: Result<Path<(String, String)>, PathRejection>,
    call: Call,
) -> Result<Response> {
    let id = path.map(|Path((org, name))| format!("{org}/{name}"));
    find(state, id, call).await
}

/// One model, by an id in one path segment: `org%2Fname`, as OpenAI's SDKs write it.
pub(super) async fn get_by_name(
    state: State<RestState>,
    path: Result<Path<String>, PathRejection>,
    call: Call,
) -> Result<Response> {
    find(state, path.map(|Path(id)| id), call).await
}

async fn find(
    State(state): State<RestState>,
    id: Result<String, PathRejection>,
    call: Call,
) -> Result<Response> {
    let id = id.map_err(|_| Error::invalid("model", "the path is not UTF-8"));
    let model = call.run_part(async { id }).await?;
    let request = GetModelRequest { model };
    response::json(state.services.models.get(call, request).await?)
}

/// Splits a text into the tokens of a model.
pub(super) async fn tokenize(
    State(state): State<RestState>,
    Json { call, message }: Json<TokenizeRequest>,
) -> Result<Response> {
    response::json(state.services.models.tokenize(call, message).await?)
}
