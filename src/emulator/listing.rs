//! `GET /v1/models` and `GET /v1/models/{org}/{name}`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::auth::OptionalAuth;
use super::catalogue::{Availability, ListFilter};
use super::endpoint_faults::ModelListFault;
use super::faults::{FaultId, FaultKind, Gzip};
use super::models::Model;
use super::refusal::{Refusal, json_type};
use super::state::{Emulator, Shared};

/// The page size of a request that has `page` but no `per_page`.
const PER_PAGE: usize = 100;

pub async fn list(
    auth: OptionalAuth,
    State(emulator): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let filter = filter(&query, &auth)?;
    let models = emulator.catalogue.list(&filter);
    let data: Vec<_> = models
        .map(|model| ModelView::new(&auth, &emulator, model))
        .collect();
    match emulator.switches.get().models {
        None => json(&List {
            object: "list",
            data,
        }),
        Some(fault) => faulty_list(fault, &data),
    }
}

pub async fn get(
    auth: OptionalAuth,
    State(emulator): State<Shared>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    // No model has an id that is not UTF-8.
    let Path(id) = id.map_err(|_| Refusal::model_not_found())?;
    let model = emulator.catalogue.find(&id)?;
    if let Some(FaultKind::WrongBody(body)) = FaultId::read(&id).map(|fault| fault.kind) {
        return Ok(body.response());
    }
    json(&ModelView::new(&auth, &emulator, &model))
}

#[derive(Serialize)]
struct List<T> {
    object: &'static str,
    data: Vec<T>,
}

/// A list of models with the fault `fault`.
fn faulty_list(fault: ModelListFault, data: &[ModelView<'_>]) -> Result<Response, Refusal> {
    let mut data: Vec<Value> = data
        .iter()
        .filter_map(|model| serde_json::to_value(model).ok())
        .collect();
    let middle = data.len() / 2;
    let odd = match fault {
        ModelListFault::NullEntry => vec![Value::Null],
        ModelListFault::OddEntries => vec![
            json!(7),
            json!("model"),
            json!([]),
            json!({}),
            json!({"id": 7}),
        ],
        _ => Vec::new(),
    };
    data.splice(middle..middle, odd);
    match fault {
        ModelListFault::EmptyObject => json(&json!({})),
        ModelListFault::NoList => json(&json!({"object": "list", "data": null})),
        ModelListFault::BareList => json(&data),
        ModelListFault::NotJson => Ok((json_type(), "This is no list of models").into_response()),
        ModelListFault::NullEntry | ModelListFault::OddEntries => json(&List {
            object: "list",
            data,
        }),
        ModelListFault::Gzip => {
            let body = serde_json::to_vec(&List {
                object: "list",
                data,
            })
            .map_err(|_| Refusal::internal())?;
            let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            Ok((json_type(), encoding, Gzip::compress(&body)).into_response())
        }
    }
}

#[derive(Serialize)]
struct ModelView<'a> {
    #[serde(flatten)]
    model: &'a Model,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability: Option<Availability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_on_current_plan: Option<bool>,
}

impl<'a> ModelView<'a> {
    fn new(auth: &OptionalAuth, emulator: &Emulator, model: &'a Model) -> Self {
        Self {
            model,
            availability: emulator.catalogue.availability(model),
            available_on_current_plan: auth.is_authenticated.then_some(model.is_on_plan),
        }
    }
}

fn filter(query: &[(String, String)], auth: &OptionalAuth) -> Result<ListFilter, Refusal> {
    let values = |name: &'static str| {
        let named = query.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    };
    let comma_separated = |name| {
        let parts = values(name).flat_map(|value| value.split(','));
        let words = parts.map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let count = |name| {
        values(name)
            .next()
            .map(|value| positive(name, value))
            .transpose()
    };

    let page = count("page")?;
    let take = match (count("per_page")?, page) {
        (Some(per_page), _) => per_page,
        (None, Some(_)) => PER_PAGE,
        // All models in one answer, as Featherless answers.
        (None, None) => usize::MAX,
    };
    // Without a key the plan is unknown, so the filter has no effect.
    let asks_for_plan =
        values("available_on_current_plan").any(|value| matches!(value, "true" | "1"));
    Ok(ListFilter {
        text: values("q").next().unwrap_or_default().to_owned(),
        families: comma_separated("family"),
        tags: comma_separated("tags"),
        only_on_plan: asks_for_plan && auth.is_authenticated,
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
