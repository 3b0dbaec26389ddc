//! The content types of Connect.

use http::{HeaderMap, HeaderName, HeaderValue};

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// Binary.
    Proto,
    /// The stock JSON of protobuf.
    Json,
}

/// What a content type of Connect says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) codec: Codec,
    /// Whether messages have envelopes. If not, the body is one message.
    pub(super) is_stream: bool,
}

impl Form {
    /// The form that `media_type` names. `None` if it is not a content type of Connect. Letter case
    /// is ignored, and so are parameters, except for a charset that is not the one of JSON.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        let mut parts = media_type.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let form = match name.strip_prefix("application/")? {
            "proto" => (Codec::Proto, false),
            "json" => (Codec::Json, false),
            "connect+proto" => (Codec::Proto, true),
            "connect+json" => (Codec::Json, true),
            _ => return None,
        };
        let mut charsets = parts.filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then_some(value)
        });
        let is_utf8 = |charset: &str| {
            let charset = charset.trim().trim_matches('"');
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
        };
        let (codec, is_stream) = form;
        charsets.all(is_utf8).then_some(Self { codec, is_stream })
    }

    /// The form that the header `name` gives.
    pub(super) fn in_header(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        Self::of(headers.get(name)?.to_str().ok()?)
    }

    /// Its content type in a response.
    pub(super) fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.codec, self.is_stream) {
            (Codec::Proto, false) => "application/proto",
            (Codec::Json, false) => "application/json",
            (Codec::Proto, true) => "application/connect+proto",
            (Codec::Json, true) => "application/connect+json",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_content_types_are_connect() {
        for (media_type, codec, is_stream) in [
            ("application/proto", Codec::Proto, false),
            ("application/json", Codec::Json, false),
            ("Application/JSON; charset=utf-8", Codec::Json, false),
            ("application/json;x=y;Charset=\"UTF-8\"", Codec::Json, false),
            ("application/connect+proto", Codec::Proto, true),
            ("application/connect+json; charset=utf8", Codec::Json, true),
        ] {
            let form = Form::of(media_type).unwrap();
            assert_eq!((form.codec, form.is_stream), (codec, is_stream));
        }
        for other in [
            "",
            "text/json",
            "application/grpc",
            "application/connect",
            "application/connect+cbor",
            "application/json; charset=latin1",
            "application/x-protobuf",
        ] {
            assert_eq!(Form::of(other), None, "{other}");
        }
    }
}
