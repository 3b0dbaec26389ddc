//! `GET /v1/models` and `GET /v1/models/{org}/{name}`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Shared;
use super::auth::Visitor;
use super::catalogue::Wanted;
use super::models::Model;
use super::refusal::{Refusal, json_type};

/// Page size when a page is asked for without one.
const PER_PAGE: usize = 100;

pub async fn list(
    visitor: Visitor,
    State(emulator): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let wanted = wanted(&query, &visitor)?;
    let models = emulator.catalogue.list(&wanted);
    json(&List { object: "list", data: models.map(|model| Shown::to(&visitor, model)).collect() })
}

pub async fn get(
    visitor: Visitor,
    State(emulator): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    // An id that is not even UTF-8 is nobody's.
    let Path(id) = id.map_err(|_| Refusal::model_not_found())?;
    let model = emulator.catalogue.find(&id)?;
    json(&Shown::to(&visitor, model))
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    model: &'a Model,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_on_current_plan: Option<bool>,
}

impl<'a> Shown<'a> {
    fn to(visitor: &Visitor, model: &'a Model) -> Self {
        Self { model, available_on_current_plan: visitor.is_signed_in.then_some(model.is_on_plan) }
    }
}

fn wanted(query: &[(String, String)], visitor: &Visitor) -> Result<Wanted, Refusal> {
    let values = |name: &'static str| {
        let named = query.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    };
    let words = |name| {
        let parts = values(name).flat_map(|value| value.split(','));
        let words = parts.map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let count = |name| values(name).next().map(|value| positive(name, value)).transpose();

    let page = count("page")?;
    let take = match (count("per_page")?, page) {
        (Some(per_page), _) => per_page,
        (None, Some(_)) => PER_PAGE,
        // All 22,000 in one answer, as upstream.
        (None, None) => usize::MAX,
    };
    // Nobody's plan is known without a key, so that the filter has nothing to go by then.
    let asks_for_plan = values("available_on_current_plan").any(|value| matches!(value, "true" | "1"));
    Ok(Wanted {
        text: values("q").next().unwrap_or_default().to_owned(),
        families: words("family"),
        tags: words("tags"),
        only_on_plan: asks_for_plan && visitor.is_signed_in,
        skip: take.saturating_mul(page.unwrap_or(1) - 1),
        take,
    })
}

fn positive(name: &str, value: &str) -> Result<usize, Refusal> {
    let read = value.parse().ok().filter(|count| *count > 0);
    read.ok_or_else(|| {
        let message = format!("Invalid value for '{name}': must be an integer of at least 1.");
        Refusal::invalid(name, "invalid_value", message)
    })
}

fn json(value: &impl Serialize) -> Result<Response, Refusal> {
    let body = serde_json::to_vec(value).map_err(|_| Refusal::internal())?;
    Ok((json_type(), body).into_response())
}
