//! The request of a `GET`, which is in the query of its path.

use std::borrow::Cow;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::error::{Error, Result};

/// Base64 for paths, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parameters of Connect in a query. Others are ignored.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    /// The name of the codec.
    pub(super) encoding: Option<Cow<'a, str>>,
    /// The name of the coding.
    pub(super) compression: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    is_base64: bool,
    version: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    /// The parameters in the part of a path after the question mark.
    pub(super) fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "encoding" => parsed.encoding = Some(value),
                "compression" => parsed.compression = Some(value),
                "message" => parsed.message = Some(value),
                "base64" => parsed.is_base64 = value == "1",
                "connect" => parsed.version = Some(value),
                _ => {}
            }
        }
        parsed
    }

    /// The bytes of the message, which may be compressed.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for another version of Connect, and without a
    /// message in the form that the query names.
    pub(super) fn message(self) -> Result<Vec<u8>> {
        if self.version.is_some_and(|version| version != "v1") {
            return Err(Error::invalid("connect", "expected v1"));
        }
        let Some(message) = self.message else {
            let problem = "expected the message in the query: connect=v1&encoding=json&message={}";
            return Err(Error::invalid("message", problem));
        };
        if !self.is_base64 {
            return Ok(message.into_owned().into_bytes());
        }
        BASE64.decode(message.as_bytes()).map_err(|error| {
            let problem = "expected base64 for paths (- and _ instead of + and /)";
            Error::invalid("message", problem).with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_message_in_any_order_and_beside_other_parameters() {
        let read = |query: &str| Query::parse(query).message().ok();
        let json = Some(b"{\"a\":\"b c\"}".to_vec());
        for query in [
            "connect=v1&encoding=json&message=%7B%22a%22%3A%22b+c%22%7D",
            "x=y&message=%7B%22a%22:%22b%20c%22%7D&encoding=json",
            "base64=0&message={\"a\":\"b%20c\"}",
            "message=eyJhIjoiYiBjIn0&base64=1",
            "message=eyJhIjoiYiBjIn0%3D&base64=1",
        ] {
            assert_eq!(read(query), json, "{query}");
        }
        assert_eq!(read("message="), Some(vec![]));
        assert_eq!(read("message=-_8&base64=1"), Some(vec![0xfb, 0xff]));
        for bad in [
            "",
            "encoding=json",
            "message=a&connect=v2",
            "message=+/8&base64=1",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
