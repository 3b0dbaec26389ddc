//! Responses in place of an answer.

use axum::response::{Html, IntoResponse, Response};

use super::super::refusal::{Refusal, json_type};
use super::error_bodies::PAGE;

/// Errors in Featherless's wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Cold,
    Gated,
    NoPlanAccess,
    NotOnPlan,
    Unauthorized,
    Units(UnitsWording),
    RateLimit,
    Internal,
    NoExecutor,
}

/// The wording of a refusal for lack of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitsWording {
    /// All numbers, and `Retry-After`.
    Numbers,
    /// Only the plan's limit.
    PlanLimit,
    /// No number at all.
    Plain,
}

/// A body that is not an answer, with a status of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongBody {
    Page,
    Text,
    Nothing,
    EmptyObject,
    Null,
    List,
}

/// The units of the plan in refusals for lack of units.
const UNITS: u32 = 8;

impl Refused {
    pub fn refusal(self, model: &str) -> Refusal {
        match self {
            Self::Cold => Refusal::not_ready(model),
            Self::Gated => Refusal::gated(model),
            Self::NoPlanAccess => Refusal::no_api_access(),
            Self::NotOnPlan => Refusal::not_on_plan(model),
            Self::Unauthorized => Refusal::unauthorized(),
            Self::Units(UnitsWording::Numbers) => {
                Refusal::concurrency(model, UNITS, 1, UNITS).retry_after_s(2)
            }
            Self::Units(UnitsWording::PlanLimit) => Refusal::plan_limit(UNITS),
            Self::Units(UnitsWording::Plain) => Refusal::units_without_numbers(),
            Self::RateLimit => Refusal::rate_limit(),
            Self::Internal => Refusal::internal(),
            Self::NoExecutor => Refusal::no_executor(),
        }
    }
}

impl WrongBody {
    pub fn response(self) -> Response {
        let json = |text: &'static str| (json_type(), text).into_response();
        match self {
            Self::Page => Html(PAGE).into_response(),
            Self::Text => json("This is text, whatever the content type says"),
            Self::Nothing => json(""),
            Self::EmptyObject => json("{}"),
            Self::Null => json("null"),
            Self::List => json("[]"),
        }
    }
}
