//! What a request's message asks of the gateway itself, in its member `featherwire`. Each option
//! has a twin among the headers, which a call has read by then: either is enough, and both must say
//! the same.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Call,
    call::{DEADLINE_MAX, FALLBACK, PRIORITY, REST_TIMEOUT, UNARY_VIA_STREAM},
    dispatch, validate,
};
use crate::{
    admission,
    error::{Error, Result},
    json::{self, Object as _},
    proto::v1::{
        CreateChatCompletionRequest, CreateCompletionRequest, CreateEmbeddingRequest,
        GatewayOptions, Priority, enum_names,
    },
};

/// The member with the options, and with the report in an answer.
pub(super) const MEMBER: &str = "featherwire";

/// How many letters of a caller's own name are told back.
const NAME_CHARS_MAX: usize = 64;

type Extra = BTreeMap<String, String>;

/// A request that has options.
pub(super) trait Optioned:
    dispatch::Request + json::Object + Serialize + DeserializeOwned + Default
{
    /// Whether its whole answer can be asked for as a stream, and added up.
    const MAY_GO_VIA_STREAM: bool;

    /// The options, and the members without a field.
    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra);
}

impl Optioned for CreateChatCompletionRequest {
    const MAY_GO_VIA_STREAM: bool = true;

    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra) {
        (&mut self.featherwire, &mut self.extra)
    }
}

impl Optioned for CreateCompletionRequest {
    const MAY_GO_VIA_STREAM: bool = false;

    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra) {
        (&mut self.featherwire, &mut self.extra)
    }
}

impl Optioned for CreateEmbeddingRequest {
    const MAY_GO_VIA_STREAM: bool = false;

    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra) {
        (&mut self.featherwire, &mut self.extra)
    }
}

impl Call {
    /// Takes the options out of a request, and goes by them. A refusal ends the call.
    ///
    /// # Errors
    /// Invalid, with the option's path.
    pub(super) fn obey<R: Optioned>(&mut self, request: &mut R) -> Result<()> {
        let result = take(request)
            .and_then(|options| options.map_or(Ok(()), |options| self.apply::<R>(*options)));
        self.refuse(result)
    }

    fn apply<R: Optioned>(&mut self, options: GatewayOptions) -> Result<()> {
        let GatewayOptions {
            fallbacks,
            no_fallbacks,
            priority,
            unary_via_stream,
            timeout_ms,
            report,
            extra,
        } = options;
        if let Some(name) = extra.keys().next() {
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            return Err(invalid(
                &name,
                format_args!(
                    "no such option: there are {}",
                    GatewayOptions::NAMES.join(", ")
                ),
            ));
        }
        self.fall_back::<R>(fallbacks, no_fallbacks)?;
        if let Some(priority) = class(priority)? {
            self.priority = Some(agreed(self.priority, priority, "priority", PRIORITY)?);
        }
        if let Some(via_stream) = unary_via_stream {
            if via_stream && !R::MAY_GO_VIA_STREAM {
                return Err(invalid(
                    "unary_via_stream",
                    "only whole chat answers can be asked for as a stream",
                ));
            }
            self.unary_via_stream = Some(agreed(
                self.unary_via_stream,
                via_stream,
                "unary_via_stream",
                UNARY_VIA_STREAM,
            )?);
        }
        if let Some(milliseconds) = timeout_ms {
            self.hurry(milliseconds)?;
        }
        self.wants_report = report.unwrap_or_default();
        Ok(())
    }

    fn fall_back<R: Optioned>(&mut self, fallbacks: Vec<String>, none: Option<bool>) -> Result<()> {
        let is_named = !fallbacks.is_empty();
        let name = if is_named {
            "fallbacks"
        } else {
            "no_fallbacks"
        };
        let agreed = |by_header, fallbacks| agreed(by_header, fallbacks, name, FALLBACK);
        match none {
            Some(true) if is_named => {
                return Err(invalid(
                    "no_fallbacks",
                    "not beside `fallbacks`: set only one of the two",
                ));
            }
            Some(false) if !is_named && self.fallbacks.as_ref().is_some_and(Vec::is_empty) => {
                return Err(differs(name, FALLBACK));
            }
            Some(true) => self.fallbacks = Some(agreed(self.fallbacks.take(), fallbacks)?),
            None | Some(false) if is_named => {
                if !R::MAY_FALL_BACK {
                    let problem = "not for embeddings: vectors of two models don't go together";
                    return Err(invalid(name, problem));
                }
                for (place, id) in fallbacks.iter().enumerate() {
                    validate::model(id).map_err(|_| {
                        invalid(&format!("fallbacks[{place}]"), "expected a model id")
                    })?;
                }
                self.fallbacks = Some(agreed(self.fallbacks.take(), fallbacks)?);
            }
            None | Some(false) => {}
        }
        Ok(())
    }

    fn hurry(&mut self, milliseconds: i64) -> Result<()> {
        let timeout = u64::try_from(milliseconds)
            .ok()
            .filter(|milliseconds| *milliseconds > 0);
        let timeout = timeout.ok_or_else(|| {
            invalid(
                "timeout_ms",
                format_args!("{milliseconds} is out of range: at least 1"),
            )
        })?;
        let timeout = agreed(
            self.rest_timeout,
            Duration::from_millis(timeout),
            "timeout_ms",
            REST_TIMEOUT,
        )?;
        if timeout < DEADLINE_MAX {
            let own = self.arrived_at + timeout;
            self.deadline = Some(self.deadline.map_or(own, |deadline| deadline.min(own)));
            if let Some(keeper) = &self.keeper {
                keeper.keep(own);
            }
        }
        Ok(())
    }
}

/// Takes a request's options out of it, by the rules for what `extra` says of fields.
fn take<R: Optioned>(request: &mut R) -> Result<Option<Box<GatewayOptions>>> {
    let (options, extra) = request.options();
    let (options, text) = (options.take(), extra.remove(MEMBER));
    if options.is_none() && text.is_none() {
        return Ok(None);
    }
    // Only they are settled here: the request is checked as a whole once it is known how long that
    // may take.
    let mut only = R::default();
    let (field, extra) = only.options();
    *field = options;
    extra.extend(text.map(|text| (MEMBER.to_owned(), text)));
    json::move_extra_into_fields(&mut only).map_err(super::invalid)?;
    Ok(only.options().0.take())
}

/// The class of this number of the contract; none for what says nothing.
fn class(number: i32) -> Result<Option<admission::Priority>> {
    match Priority::try_from(number) {
        Ok(Priority::Unspecified) => Ok(None),
        Ok(Priority::Interactive) => Ok(Some(admission::Priority::Interactive)),
        Ok(Priority::Default) => Ok(Some(admission::Priority::Default)),
        Ok(Priority::Batch) => Ok(Some(admission::Priority::Batch)),
        Err(_) => Err(invalid(
            "priority",
            json::unknown_enum_value(number, enum_names::PRIORITY),
        )),
    }
}

/// The option, unless its twin among the headers says something else.
fn agreed<T: PartialEq>(by_header: Option<T>, option: T, name: &str, header: &str) -> Result<T> {
    match by_header {
        Some(other) if other != option => Err(differs(name, header)),
        _ => Ok(option),
    }
}

fn differs(name: &str, header: &str) -> Error {
    invalid(
        name,
        format_args!(
            "the header (metadata) {header} says something else: send one of the two, or the same"
        ),
    )
}

fn invalid(name: &str, problem: impl Display) -> Error {
    Error::invalid(format!("{MEMBER}.{name}"), problem)
}
