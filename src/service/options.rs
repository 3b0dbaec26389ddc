//! The options of the gateway in a request: its member `featherwire`. Each option but `report`
//! and `queue` has a header with the same meaning, which the call has parsed by then. Either one is
//! enough, and both must agree.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    call::Call,
    headers::{FALLBACK, PRIORITY, TIMEOUT_MAX, TIMEOUT_MS, UNARY_VIA_STREAM},
    model_request::ModelRequest,
    validate,
};
use crate::{
    admission,
    error::{Error, Result},
    json::{self, Object as _},
    proto::v1::{
        CreateChatCompletionRequest, CreateCompletionRequest, CreateEmbeddingRequest,
        GatewayOptions, Priority,
    },
};

/// The member with the options, and with the report in an answer.
pub(super) const MEMBER: &str = "featherwire";

/// The longest name of an option that an error quotes, in characters.
const NAME_CHARS_MAX: usize = 64;

type Extra = BTreeMap<String, String>;

/// A request that can have options.
pub(super) trait HasOptions:
    ModelRequest + json::Object + Serialize + DeserializeOwned + Default
{
    /// Whether its unary answer can be streamed upstream and accumulated.
    const MAY_GO_VIA_STREAM: bool;

    /// The options, and the members without a field.
    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra);
}

impl HasOptions for CreateChatCompletionRequest {
    const MAY_GO_VIA_STREAM: bool = true;

    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra) {
        (&mut self.featherwire, &mut self.extra)
    }
}

impl HasOptions for CreateCompletionRequest {
    const MAY_GO_VIA_STREAM: bool = false;

    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra) {
        (&mut self.featherwire, &mut self.extra)
    }
}

impl HasOptions for CreateEmbeddingRequest {
    const MAY_GO_VIA_STREAM: bool = false;

    fn options(&mut self) -> (&mut Option<Box<GatewayOptions>>, &mut Extra) {
        (&mut self.featherwire, &mut self.extra)
    }
}

impl Call {
    /// Removes the options from a request and applies them. A failure ends the call.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) with the path of the option.
    pub(super) fn apply_options<R: HasOptions>(&mut self, request: &mut R) -> Result<()> {
        let result = take(request)
            .and_then(|options| options.map_or(Ok(()), |options| self.apply::<R>(*options)));
        result.inspect_err(|error| self.fail(error))
    }

    fn apply<R: HasOptions>(&mut self, options: GatewayOptions) -> Result<()> {
        let GatewayOptions {
            fallbacks,
            no_fallbacks,
            priority,
            unary_via_stream,
            timeout_ms,
            report,
            queue,
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
        self.apply_fallbacks::<R>(fallbacks, no_fallbacks)?;
        if let Some(priority) = class(priority)? {
            self.priority = Some(agree(self.priority, priority, "priority", PRIORITY)?);
        }
        if let Some(via_stream) = unary_via_stream {
            if via_stream && !R::MAY_GO_VIA_STREAM {
                return Err(invalid(
                    "unary_via_stream",
                    "only unary chat answers can be streamed upstream",
                ));
            }
            self.unary_via_stream = Some(agree(
                self.unary_via_stream,
                via_stream,
                "unary_via_stream",
                UNARY_VIA_STREAM,
            )?);
        }
        if let Some(milliseconds) = timeout_ms {
            self.apply_timeout(milliseconds)?;
        }
        self.wants_report = report.unwrap_or_default();
        self.wants_queue = queue.unwrap_or_default();
        Ok(())
    }

    fn apply_fallbacks<R: HasOptions>(
        &mut self,
        fallbacks: Vec<String>,
        none: Option<bool>,
    ) -> Result<()> {
        let is_named = !fallbacks.is_empty();
        let name = if is_named {
            "fallbacks"
        } else {
            "no_fallbacks"
        };
        let agree = |by_header, fallbacks| agree(by_header, fallbacks, name, FALLBACK);
        match none {
            Some(true) if is_named => {
                return Err(invalid(
                    "no_fallbacks",
                    "cannot be combined with `fallbacks`: set only one of the two",
                ));
            }
            Some(false) if !is_named && self.fallbacks.as_ref().is_some_and(Vec::is_empty) => {
                return Err(differs(name, FALLBACK));
            }
            Some(true) => self.fallbacks = Some(agree(self.fallbacks.take(), fallbacks)?),
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
                self.fallbacks = Some(agree(self.fallbacks.take(), fallbacks)?);
            }
            None | Some(false) => {}
        }
        Ok(())
    }

    fn apply_timeout(&mut self, milliseconds: i64) -> Result<()> {
        let timeout = u64::try_from(milliseconds)
            .ok()
            .filter(|milliseconds| *milliseconds > 0);
        let timeout = timeout.ok_or_else(|| {
            invalid(
                "timeout_ms",
                format_args!("{milliseconds} is out of range: at least 1"),
            )
        })?;
        let timeout = agree(
            self.header_timeout,
            Duration::from_millis(timeout),
            "timeout_ms",
            TIMEOUT_MS,
        )?;
        if timeout < TIMEOUT_MAX {
            let own = self.arrived_at + timeout;
            self.deadline = Some(self.deadline.map_or(own, |deadline| deadline.min(own)));
            if let Some(deadline_observer) = &self.deadline_observer {
                deadline_observer.set_deadline(own);
            }
        }
        Ok(())
    }
}

/// Removes the options from a request, also if they are in `extra`.
fn take<R: HasOptions>(request: &mut R) -> Result<Option<Box<GatewayOptions>>> {
    let (options, extra) = request.options();
    let (options, text) = (options.take(), extra.remove(MEMBER));
    if options.is_none() && text.is_none() {
        return Ok(None);
    }
    // Only the options are settled here. The whole request is validated when it is known how long
    // that may take.
    let mut only = R::default();
    let (field, extra) = only.options();
    *field = options;
    extra.extend(text.map(|text| (MEMBER.to_owned(), text)));
    json::move_extra_into_fields(&mut only).map_err(validate::invalid_json)?;
    Ok(only.options().0.take())
}

/// The class with this number in the contract; `None` for unspecified.
fn class(number: i32) -> Result<Option<admission::Priority>> {
    match Priority::try_from(number) {
        Ok(Priority::Unspecified) => Ok(None),
        Ok(Priority::Interactive) => Ok(Some(admission::Priority::Interactive)),
        Ok(Priority::Default) => Ok(Some(admission::Priority::Default)),
        Ok(Priority::Batch) => Ok(Some(admission::Priority::Batch)),
        Err(_) => Err(invalid(
            "priority",
            json::unknown_enum_value(number, json::enum_names::PRIORITY),
        )),
    }
}

/// The option, unless the header has another value.
fn agree<T: PartialEq>(by_header: Option<T>, option: T, name: &str, header: &str) -> Result<T> {
    match by_header {
        Some(other) if other != option => Err(differs(name, header)),
        _ => Ok(option),
    }
}

fn differs(name: &str, header: &str) -> Error {
    invalid(
        name,
        format_args!(
            "the header (metadata) {header} has another value: send only one of the two, or equal \
             values"
        ),
    )
}

fn invalid(name: &str, problem: impl Display) -> Error {
    Error::invalid(format!("{MEMBER}.{name}"), problem)
}
