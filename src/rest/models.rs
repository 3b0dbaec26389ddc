//! `GET /v1/models`, `GET /v1/models/{org}/{name}` and `POST /v1/tokenize`.

use axum::{
    body::Body,
    extract::{Path, Query, Request, State, rejection::PathRejection},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use http_body::Frame;
use http_body_util::StreamBody;

use super::{Inside, answer, body, respond};
use crate::{
    error::{Error, Result},
    proto::v1::GetModelRequest,
    service::{Call, Services, models::WholeCatalogue},
};

type Pairs = Vec<(String, String)>;

/// The catalogue: whole as it is kept, or what of it passes the upstream's own query parameters `q`, `page`, `per_page`,
/// `family`, `tags` and `available_on_current_plan`.
pub async fn list(State((services, _)): State<Inside>, head: Parts) -> Response {
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let query: Query<Pairs> = call.refuse(
            Query::try_from_uri(&head.uri)
                .map_err(|error| Error::invalid("query", "expected name=value&…").with_source(error)),
        )?;
        if query.is_empty() {
            return Ok(whole(services.models.whole(call).await?));
        }
        let query: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = services.models.query(call, &query).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}

/// The kept text between two brackets: several MB that are not copied for each caller.
fn whole(catalogue: WholeCatalogue) -> Response {
    let parts = [Bytes::from_static(br#"{"object":"list","data":["#), catalogue.models, Bytes::from_static(b"]}")];
    let frames = stream::iter(parts).map(|part| Ok::<_, std::convert::Infallible>(Frame::data(part)));
    let mut response = respond(Body::new(StreamBody::new(frames)), "application/json", HeaderMap::new());
    response.headers_mut().insert(header::AGE, HeaderValue::from(catalogue.age.as_secs()));
    response
}

/// One model by organisation and name.
pub async fn get(
    State((services, _)): State<Inside>,
    path: Result<Path<(String, String)>, PathRejection>,
    head: Parts,
) -> Response {
    let id = path.map(|Path((org, name))| format!("{org}/{name}"));
    find(&services, id, &head).await.unwrap_or_else(Error::into_response)
}

/// One model by an id in one path segment: `org%2Fname`, as OpenAI's SDKs write it.
pub async fn get_by_name(
    State((services, _)): State<Inside>,
    path: Result<Path<String>, PathRejection>,
    head: Parts,
) -> Response {
    find(&services, path.map(|Path(id)| id), &head).await.unwrap_or_else(Error::into_response)
}

async fn find(services: &Services, id: Result<String, PathRejection>, head: &Parts) -> Result<Response> {
    let model = id.map_err(|_| Error::invalid("model", "the path is not UTF-8"))?;
    let reply = services.models.get(Call::new(&head.headers, &head.extensions)?, GetModelRequest { model }).await?;
    Ok(answer(reply))
}

/// Splits a text into a model's tokens.
pub async fn tokenize(State((services, limit)): State<Inside>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let response = async {
        let call = Call::new(&head.headers, &head.extensions)?;
        let request = call.refuse(body::read(&call, &head.headers, body, limit).await)?;
        let reply = services.models.tokenize(call, request).await?;
        Ok(answer(reply))
    };
    response.await.unwrap_or_else(Error::into_response)
}
