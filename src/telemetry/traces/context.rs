//! The place of a call in a trace, by the headers `traceparent` and `tracestate` of W3C Trace
//! Context. gRPC metadata has the same names.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the trace, the span of the sender, and the flags.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header with what the tracing systems on the way have to say.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag of a trace that is recorded.
pub(super) const SAMPLED: u8 = 0x01;

/// The flag of a trace whose id is random.
const RANDOM: u8 = 0x02;

/// The longest `tracestate` that is kept, in bytes. The specification asks for as much.
const STATE_BYTES_MAX: usize = 512;

/// The largest number of members of a `tracestate`.
const STATE_MEMBERS_MAX: usize = 32;

/// The length of a `traceparent` of version 0, in bytes.
const PARENT_BYTES: usize = 55;

/// The id of a trace. It is never 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(pub(super) u128);

/// The id of a span. It is never 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanId(pub(super) u64);

impl TraceId {
    pub(super) fn random() -> Self {
        Self(fastrand::u128(1..))
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(fastrand::u64(1..))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The place of a span in a trace.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) flags: u8,
    /// The `tracestate`, which is passed on as it came.
    pub(super) state: Option<Box<str>>,
}

/// The headers that pass a context on. They are in a box, because the future of each call has a place
/// for them.
#[derive(Debug)]
pub struct ContextHeaders {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl ContextHeaders {
    /// Adds them to the headers of a request.
    pub fn add_to(self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.parent);
        if let Some(state) = self.state {
            headers.insert(TRACESTATE, state);
        }
    }
}

impl Context {
    /// The context that a caller sends. `None` if there is none, or if it is not valid: the
    /// specification asks for a new trace then.
    pub(super) fn of_caller(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?.to_str().ok()?;
        if parents.next().is_some() {
            return None;
        }
        let context = Self::parse(parent)?;
        Some(Self {
            state: state_in(headers),
            ..context
        })
    }

    /// The same trace with another span.
    pub(super) fn with_span(&self, span_id: SpanId) -> Self {
        Self {
            span_id,
            ..self.clone()
        }
    }

    /// The headers that pass it on.
    pub(super) fn headers(&self) -> Option<Box<ContextHeaders>> {
        let (trace_id, span_id, flags) = (self.trace_id, self.span_id, self.flags);
        let parent = format!("00-{trace_id}-{span_id}-{flags:02x}");
        let state = self.state.as_deref().map(HeaderValue::from_str);
        Some(Box::new(ContextHeaders {
            parent: HeaderValue::try_from(parent).ok()?,
            state: state.and_then(Result::ok),
        }))
    }

    fn parse(parent: &str) -> Option<Self> {
        let (version, rest) = parent.split_once('-')?;
        let version = hexadecimal(version, 2)?;
        // Later versions may have more fields, after another dash.
        let is_long = parent.len() > PARENT_BYTES;
        if version == 0xff || (version == 0 && is_long) {
            return None;
        }
        let mut fields = rest.split('-');
        let trace_id = hexadecimal(fields.next()?, 32).filter(|id| *id != 0)?;
        let span_id = hexadecimal(fields.next()?, 16).filter(|id| *id != 0)?;
        let flags = hexadecimal(fields.next()?, 2)?;
        Some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(u64::try_from(span_id).ok()?),
            flags: u8::try_from(flags).ok()? & (SAMPLED | RANDOM),
            state: None,
        })
    }
}

/// The number with exactly this many lower-case hexadecimal digits.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The `tracestate` of a request. If it is not valid, it counts as absent.
fn state_in(headers: &HeaderMap) -> Option<Box<str>> {
    let mut state = String::new();
    for value in headers.get_all(TRACESTATE) {
        let value = value.to_str().ok()?;
        let members = value.split(',').map(str::trim);
        for member in members.filter(|member| !member.is_empty()) {
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || value.is_empty() || value.contains('=') {
                return None;
            }
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
            if state.len() > STATE_BYTES_MAX {
                return None;
            }
        }
    }
    let members = state.split(',').count();
    (!state.is_empty() && members <= STATE_MEMBERS_MAX).then(|| state.into())
}

fn is_key(key: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_later = |byte: u8| is_first(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.bytes().next().is_some_and(is_first) && key.bytes().all(is_later)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, parent.parse().unwrap());
        }
        for state in states {
            headers.append(TRACESTATE, state.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_valid_context_is_passed_on_with_another_span() {
        let later = format!("{}-what-may-come", VALID.replace("00-4b", "cc-4b"));
        for parent in [VALID, &later] {
            let context = Context::of_caller(&headers(&[parent], &["a=1, b@c=2", "d=x"])).unwrap();
            let passed_on = context.with_span(SpanId(0xab)).headers().unwrap();
            let mut sent = HeaderMap::new();
            passed_on.add_to(&mut sent);
            let expected = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01";
            assert_eq!(sent["traceparent"], expected);
            assert_eq!(sent["tracestate"], "a=1,b@c=2,d=x");
        }
    }

    #[test]
    fn a_context_that_is_not_valid_is_as_none() {
        for parent in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert!(
                Context::of_caller(&headers(&[parent], &[])).is_none(),
                "{parent}"
            );
        }
        assert!(Context::of_caller(&headers(&[VALID, VALID], &[])).is_none());
        assert!(Context::of_caller(&headers(&[], &["a=1"])).is_none());
    }

    #[test]
    fn a_state_that_is_not_valid_is_dropped_and_the_parent_stays() {
        let long = format!("a={}", "x".repeat(STATE_BYTES_MAX));
        let many = vec!["a=1"; STATE_MEMBERS_MAX + 1].join(",");
        for state in ["a", "=1", "A=1", "a=1=2", "a b=1", "a=", &long, &many] {
            let context = Context::of_caller(&headers(&[VALID], &[state])).unwrap();
            assert!(context.state.is_none(), "{state}");
        }
    }
}
