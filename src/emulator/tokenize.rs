//! `POST /v1/tokenize`: the token ids of a text, as `usage` counts them.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::auth::Authenticated;
use super::body::JsonBody;
use super::exchange::Exchange;
use super::members::Members;
use super::refusal::{Refusal, json_type};
use super::state::Shared;
use super::tokenizer;

pub async fn create(
    _: Authenticated,
    State(emulator): State<Shared>,
    Extension(exchange): Extension<Exchange>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let members = Members::of_body(&body.members);
    let model = members.required_text("model")?;
    let Some(text) = members.text("text")? else {
        return Err(Refusal::missing("text"));
    };
    // The tokenizer works without the loaded model.
    let model = emulator.catalogue.usable(model)?;
    if let Some(fault) = emulator.fault(&model, body.fingerprint)
        && let Some(answer) = fault.replace_answer(&model.id, &exchange.connection).await
    {
        return Ok(answer);
    }
    let answer = json!({ "tokens": tokenizer::ids(text) });
    Ok((json_type(), answer.to_string()).into_response())
}
