//! Writes JSON. serde_json looks at each byte of a string by itself, and that is most of what it
//! takes to write a long prompt. Here a string is looked at in blocks, and a block without a
//! character to escape is copied. Numbers are written by serde_json.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct},
};
use serde_json::Error;

use super::verbatim::VERBATIM;

/// The length of a block, in bytes: what a few vector instructions look at.
const BLOCK: usize = 32;

/// Writes `message`, whose keys are strings, to the end of `out`.
///
/// # Errors
/// The errors of `message`. `out` then ends in an incomplete document.
pub(super) fn write<M: Serialize>(out: &mut Vec<u8>, message: &M) -> Result<(), Error> {
    message.serialize(Writer(out))
}

/// Writes one value to the end of a buffer.
struct Writer<'a>(&'a mut Vec<u8>);

/// Writes the members of an object, or the elements of a list, and the punctuation around them.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
    end: u8,
}

impl<'a> Writer<'a> {
    fn members(self, start: u8, end: u8) -> Members<'a> {
        self.0.push(start);
        Members {
            out: self.0,
            is_first: true,
            end,
        }
    }

    /// Writes a value as serde_json does.
    fn plainly<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        serde_json::to_writer(self.0, value)
    }
}

impl Members<'_> {
    fn separate(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
    }

    fn finish(self) {
        self.out.push(self.end);
    }
}

impl SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        key.serialize(Writer(self.out))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        value.serialize(Writer(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        value.serialize(Writer(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.serialize_entry(key, value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

macro_rules! as_serde_json_does {
    ($($method:ident($value:ty)),*) => {
        $(fn $method(self, value: $value) -> Result<(), Error> {
            self.plainly(&value)
        })*
    };
}

/// Neither a message nor an error has such a value.
fn no_such_value<T>() -> Result<T, Error> {
    Err(Error::custom("a value that the contract does not have"))
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a>;
    type SerializeMap = Members<'a>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    as_serde_json_does!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_bytes(&[u8])
    );

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        write_string(self.0, text);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if name == VERBATIM {
            self.plainly(value)
        } else {
            value.serialize(self)
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        no_such_value()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.members(b'[', b']'))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.members(b'{', b'}'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        no_such_value()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        no_such_value()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        no_such_value()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        no_such_value()
    }
}

/// Writes `text` as a JSON string.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let (blocks, rest) = text.as_bytes().as_chunks::<BLOCK>();
    for block in blocks {
        // Without an early end, so that it becomes vector instructions.
        if block
            .iter()
            .fold(false, |any, byte| any | must_escape(*byte))
        {
            write_escaped(out, block);
        } else {
            out.extend_from_slice(block);
        }
    }
    write_escaped(out, rest);
    out.push(b'"');
}

/// Whether JSON has another form for this byte inside a string (RFC 8259, section 7).
fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The place of the first byte that must be escaped. It looks at eight bytes at once, as one
/// number: short strings such as names have no block.
fn place_to_escape(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let found = bytes_to_escape(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(number * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let place = rest.iter().position(|byte| must_escape(*byte))?;
    Some(words.len() * 8 + place)
}

/// Has the highest bit of the first byte in `word` that must be escaped. Bits of bytes after it may
/// be wrong, because a subtraction borrows from them. 0 if there is none.
fn bytes_to_escape(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & HIGH_BITS
}

/// Writes `bytes`, which are inside a string, with escapes.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = bytes;
    while let Some(at) = place_to_escape(rest) {
        let Some((plain, [byte, after @ ..])) = rest.split_at_checked(at) else {
            break;
        };
        out.extend_from_slice(plain);
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
                out.extend([digit(byte >> 4), digit(byte & 0xf)]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written<M: Serialize>(message: &M) -> String {
        let mut out = Vec::new();
        write(&mut out, message).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_character_is_written_as_serde_json_writes_it_at_every_place_of_a_block() {
        for character in (0..0x100_u32).chain([0x2028, 0xffff, 0x1_f600]) {
            let character = char::from_u32(character).unwrap();
            for place in 0..2 * BLOCK {
                let text = format!("{}{character}{}", "a".repeat(place), "ü".repeat(BLOCK));
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    #[test]
    fn values_are_written_as_serde_json_writes_them() {
        let value = json!({
            "": null, "a\"b": [], "list": [1, -2, 1.5, 1e300, u64::MAX, true, [{}, {"x": "\u{1}"}]],
        });
        assert_eq!(written(&value), value.to_string());
        assert_eq!(written(&Some(BTreeMap::<String, ()>::new())), "{}");
        #[derive(Serialize)]
        struct Error<'a> {
            message: &'a str,
            param: Option<&'a str>,
        }
        let error = Error {
            message: "a\tb",
            param: None,
        };
        assert_eq!(written(&error), r#"{"message":"a\tb","param":null}"#);
    }

    fn strings() -> impl Strategy<Value = String> {
        let often_escaped = proptest::sample::select(vec!['a', '"', '\\', '\n', '\u{7}', 'é']);
        let characters = prop_oneof![any::<char>(), often_escaped];
        proptest::collection::vec(characters, 0..200)
            .prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_written_as_serde_json_writes_it(text in strings()) {
            prop_assert_eq!(written(&text), Value::from(text).to_string());
        }
    }
}
