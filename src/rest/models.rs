//! `GET /v1/models`, `GET /v1/models/{org}/{name}` and `POST /v1/tokenize`.

use axum::{
    extract::{Path, Query, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{Inside, answer, compression, paging, request, respond};
use crate::{
    error::{Error, Result},
    proto::v1::GetModelRequest,
    service::{Call, Reply, Services, models::WholeCatalogue},
};

type Pairs = Vec<(String, String)>;

/// The catalogue: whole as it is kept; a page of it, by the query parameters of `paging`; or what
/// of it passes the upstream's own query parameters `q`, `page`, `per_page`, `family`, `tags` and
/// `available_on_current_plan`.
pub async fn list(State((services, _)): State<Inside>, head: Parts) -> Response {
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let query: Query<Pairs> = call.refuse(Query::try_from_uri(&head.uri).map_err(|error| {
            Error::invalid("query", "expected name=value&…").with_source(error)
        }))?;
        if query.is_empty() {
            let is_gzip = compression::takes_gzip(&head.headers);
            return Ok(whole(services.models.whole(call, is_gzip).await?, is_gzip));
        }
        if let Some(request) = call.refuse(paging::read(&query))? {
            let list = services.models.list(call, request).await?;
            let age = HeaderValue::from(list.age_ms / 1000);
            let mut response = answer(Reply::new(list));
            response.headers_mut().insert(header::AGE, age);
            return Ok(response);
        }
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let reply = services.models.query(call, &query).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// The kept text: several MB that are neither copied nor compressed for each caller.
fn whole(catalogue: WholeCatalogue, is_gzip: bool) -> Response {
    let mut response = respond(catalogue.list.into(), "application/json", HeaderMap::new());
    response
        .headers_mut()
        .insert(header::AGE, HeaderValue::from(catalogue.age.as_secs()));
    if is_gzip {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    compression::vary(&mut response);
    response
}

/// One model by organisation and name.
pub async fn get(
    State((services, _)): State<Inside>,
    path: Result<Path<(String, String)>, PathRejection>,
    head: Parts,
) -> Response {
    let id = path.map(|Path((org, name))| format!("{org}/{name}"));
    find(&services, id, &head)
        .await
        .unwrap_or_else(Error::into_response)
}

/// One model by an id in one path segment: `org%2Fname`, as OpenAI's SDKs write it.
pub async fn get_by_name(
    State((services, _)): State<Inside>,
    path: Result<Path<String>, PathRejection>,
    head: Parts,
) -> Response {
    find(&services, path.map(|Path(id)| id), &head)
        .await
        .unwrap_or_else(Error::into_response)
}

async fn find(
    services: &Services,
    id: Result<String, PathRejection>,
    head: &Parts,
) -> Result<Response> {
    let model = id.map_err(|_| Error::invalid("model", "the path is not UTF-8"))?;
    let reply = services
        .models
        .get(
            Call::new(&head.headers, &head.extensions)?,
            GetModelRequest { model },
        )
        .await?;
    Ok(answer(reply))
}

/// Splits a text into a model's tokens.
pub async fn tokenize(State((services, limit)): State<Inside>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let request = call.refuse(request::read(&call, &head.headers, body, limit).await)?;
        let reply = services.models.tokenize(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}
