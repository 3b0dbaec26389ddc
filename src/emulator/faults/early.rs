//! The faults that strike in place of an answer.

use std::future::pending;

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::time::sleep;

use super::super::line::Line;
use super::super::refusal::{Refusal, json_type};
use super::error_bodies::PAGE;
use super::{FaultId, Trouble};

/// The errors of Featherless's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Cold,
    Gated,
    NoPlanAccess,
    NotOnPlan,
    Unauthorized,
    Units(UnitWords),
    RateLimit,
    Internal,
    NoExecutor,
}

/// How a refusal for want of units is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitWords {
    /// All numbers, and `Retry-After`.
    Numbers,
    /// Only the plan's limit.
    PlanLimit,
    /// No number at all.
    Plain,
}

/// What a successful status can carry that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongBody {
    Page,
    Text,
    Nothing,
    EmptyObject,
    Null,
    List,
}

/// A reserved name: a client that follows the redirect finds no host to give its key to.
const ELSEWHERE: &str = "https://elsewhere.invalid/v1/chat/completions";
/// What the made-up refusals for want of units say of the plan.
const UNITS: u32 = 8;

impl FaultId {
    /// What is answered in place of an answer, if this fault strikes so early: it may never come.
    pub async fn strike_early(&self, model: &str, line: &Line) -> Option<Response> {
        sleep(self.delay).await;
        let mut response = match self.trouble {
            Trouble::Refused(refused) => refused.refusal(model).into_response(),
            Trouble::Status(status, shape) => shape.response(status),
            Trouble::WrongBody(body) => body.response(),
            Trouble::Redirect => (
                StatusCode::FOUND,
                [(header::LOCATION, HeaderValue::from_static(ELSEWHERE))],
            )
                .into_response(),
            Trouble::NoHead => match self.silence {
                Some(silence) => {
                    sleep(silence).await;
                    return None;
                }
                None => pending().await,
            },
            Trouble::HangUp(how) => {
                line.hang_up(how);
                pending().await
            }
            _ => return None,
        };
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        Some(response)
    }
}

impl Refused {
    fn refusal(self, model: &str) -> Refusal {
        match self {
            Self::Cold => Refusal::not_ready(model),
            Self::Gated => Refusal::gated(model),
            Self::NoPlanAccess => Refusal::no_api_access(),
            Self::NotOnPlan => Refusal::not_on_plan(model),
            Self::Unauthorized => Refusal::unauthorized(),
            Self::Units(UnitWords::Numbers) => {
                Refusal::concurrency(model, UNITS, 1, UNITS).retry_after_s(2)
            }
            Self::Units(UnitWords::PlanLimit) => Refusal::plan_limit(UNITS),
            Self::Units(UnitWords::Plain) => Refusal::units_without_numbers(),
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
