//! The values of the options for traces, as OpenTelemetry specifies them. An error gives an example
//! and never repeats the value.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::Scheme};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::{config::values::duration, telemetry::traces::Protocol};

/// The largest number of spans that may wait.
const QUEUE_MAX: usize = 1_000_000;

/// The value of a variable that may be empty, which is as unset.
#[derive(Clone, Debug, PartialEq)]
pub enum Given<T> {
    /// An empty text.
    Nothing,
    /// A value.
    Value(T),
}

impl<T: Clone> Given<T> {
    /// The value, if there is one.
    pub(super) fn get(&self) -> Option<T> {
        match self {
            Self::Nothing => None,
            Self::Value(value) => Some(value.clone()),
        }
    }
}

/// Where traces go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracesExporter {
    /// To a collector, by OTLP.
    Otlp,
    /// Nowhere.
    None,
}

/// A sampler, without its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerName {
    pub(super) follows_caller: bool,
    /// Whether all calls are recorded or none. `None`: a share of them.
    pub(super) share: Option<bool>,
}

/// A parser that takes an empty text as unset, as OpenTelemetry asks for.
pub(super) fn or_unset<T>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Given<T>, String> + Clone {
    move |text| match text.trim() {
        "" => Ok(Given::Nothing),
        text => parse(text).map(Given::Value),
    }
}

pub(super) fn endpoint(text: &str) -> Result<Uri, String> {
    let example = "such as http://localhost:4318";
    let no_url = || format!("expected a URL that begins with http:// or https://, {example}");
    let url: Uri = text.parse().map_err(|_| no_url())?;
    let is_known = [Scheme::HTTP, Scheme::HTTPS]
        .iter()
        .any(|it| url.scheme() == Some(it));
    let authority = url.authority().filter(|_| is_known).ok_or_else(no_url)?;
    if authority.as_str().contains('@') {
        return Err(format!(
            "the URL has a user or a password: set OTEL_EXPORTER_OTLP_HEADERS for them, and a URL \
             {example}"
        ));
    }
    Ok(url)
}

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        _ => Err("expected grpc or http/protobuf, such as grpc".to_owned()),
    }
}

pub(super) fn exporter(text: &str) -> Result<TracesExporter, String> {
    match text {
        "otlp" => Ok(TracesExporter::Otlp),
        "none" => Ok(TracesExporter::None),
        _ => Err("expected otlp or none, such as otlp".to_owned()),
    }
}

pub(super) fn sampler(text: &str) -> Result<SamplerName, String> {
    let name = text.strip_prefix("parentbased_");
    let share = match name.unwrap_or(text) {
        "always_on" => Some(true),
        "always_off" => Some(false),
        "traceidratio" => None,
        _ => {
            return Err(
                "expected always_on, always_off or traceidratio, or one of them after \
                 parentbased_, such as parentbased_traceidratio"
                    .to_owned(),
            );
        }
    };
    Ok(SamplerName {
        follows_caller: name.is_some(),
        share,
    })
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.trim() {
        "" => Ok(1.0),
        text => match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err("expected a number from 0 to 1, such as 0.1".to_owned()),
        },
    }
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => duration(&format!("{text}ms")),
        false => duration(text),
    }
}

pub(super) fn spans(text: &str, default: usize) -> Result<usize, String> {
    match text.trim() {
        "" => Ok(default),
        text => match text.parse() {
            Ok(spans) if (1..=QUEUE_MAX).contains(&spans) => Ok(spans),
            _ => Err(format!(
                "expected a whole number from 1 to {QUEUE_MAX}, such as {default}"
            )),
        },
    }
}

pub(super) fn attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    pairs(text).ok_or_else(|| {
        "expected NAME=VALUE, separated by commas, such as deployment.environment.name=staging"
            .to_owned()
    })
}

pub(super) fn secret_headers(text: &str) -> Result<SecretString, String> {
    headers_of(text).map(|_| SecretString::from(text))
}

pub(super) fn headers_of(text: &str) -> Result<HeaderMap, String> {
    let header = |(name, value): (String, String)| {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    pairs(text)
        .and_then(|pairs| pairs.into_iter().map(header).collect())
        .ok_or_else(|| {
            "expected NAME=VALUE, separated by commas, such as authorization=Bearer%20…".to_owned()
        })
}

/// `NAME=VALUE,…`, whose values are percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim);
    let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let decoded = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), decoded.into_owned()))
    });
    pairs.collect()
}
