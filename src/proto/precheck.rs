//! Checks an encoded message before it is decoded: the lengths of its lists, and the memory that
//! its structure will take. Nothing is copied and nothing is decoded.
//!
//! The check ends at the first byte that is not valid protobuf, because prost stops there too.

use std::fmt::Write;

use super::bounds::{FIELDS_MAX, Field, Kind, Layout, TooLarge, structure_bytes_max};

/// The largest number of occurrences of a singular field in one message. Protobuf merges them, but
/// clients normally send a field only once.
const MERGED_MAX: usize = 16;

/// The largest depth of nested unknown groups, which is prost's limit. The contract has no groups.
const GROUPS_MAX: usize = 100;

/// A limit that is exceeded, and the field.
#[derive(Debug)]
pub(super) struct Problem {
    /// The field, such as `messages[0].content_parts`.
    pub path: String,
    pub what: TooLarge,
}

/// Checks an encoded message.
///
/// # Errors
/// The first limit that is exceeded.
pub(super) fn check(layout: &'static Layout, encoded: &[u8]) -> Result<(), Problem> {
    let max = structure_bytes_max(encoded.len());
    let mut checker = Checker { max, left: max };
    checker.message(layout, &[encoded], &Place::Root)
}

/// The path of a field in a message.
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'static str),
    Element(&'a Place<'a>, usize),
}

impl Place<'_> {
    fn write(&self, path: &mut String) {
        match self {
            Self::Root => {}
            Self::Field(parent, name) => {
                parent.write(path);
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Self::Element(list, index) => {
                list.write(path);
                // Writing to a string cannot fail.
                let _ = write!(path, "[{index}]");
            }
        }
    }

    fn problem(&self, what: TooLarge) -> Problem {
        let mut path = String::new();
        self.write(&mut path);
        Problem { path, what }
    }
}

struct Checker {
    max: usize,
    left: usize,
}

impl Checker {
    fn charge(&mut self, bytes: usize, place: &Place<'_>) -> Result<(), Problem> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(place.problem(TooLarge::Structure(self.max))),
        }
        Ok(())
    }

    /// Checks one message. It may consist of several pieces, which protobuf merges.
    fn message(
        &mut self,
        layout: &'static Layout,
        pieces: &[&[u8]],
        place: &Place<'_>,
    ) -> Result<(), Problem> {
        let mut counts = [0_usize; FIELDS_MAX];
        let mut singles: Vec<(&'static Field, &[u8])> = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while let Some((number, value)) = next(&mut rest) {
                let found = layout
                    .fields
                    .iter()
                    .zip(&mut counts)
                    .find(|(field, _)| field.number == number);
                let Some((field, count)) = found else {
                    continue;
                };
                let within = Place::Field(place, field.name);
                let Some(limit) = field.limit else {
                    let Value::Bytes(bytes) = value else { continue };
                    *count += 1;
                    if *count == 1
                        && let Kind::Message {
                            layout,
                            is_boxed: true,
                        } = field.kind
                    {
                        self.charge(layout.bytes, &within)?;
                    }
                    if *count > MERGED_MAX {
                        return Err(within.problem(TooLarge::Repeated(MERGED_MAX)));
                    }
                    singles.push((field, bytes));
                    continue;
                };
                let (before, added) = (*count, elements(field.kind, &value));
                *count = before.saturating_add(added);
                if *count > limit.max {
                    return Err(within.problem(TooLarge::List(limit)));
                }
                match (field.kind, value) {
                    (Kind::Message { layout, .. }, Value::Bytes(bytes)) => {
                        let element = Place::Element(&within, before);
                        self.charge(layout.bytes, &element)?;
                        self.message(layout, &[bytes], &element)?;
                    }
                    (Kind::Map(entry), _) => {
                        self.charge(if before == 0 { entry.first } else { entry.next }, &within)?;
                    }
                    (Kind::Varints(size), _) => self.charge(added.saturating_mul(size), &within)?,
                    (Kind::Doubles, _) => {
                        self.charge(added.saturating_mul(size_of::<f64>()), &within)?
                    }
                    (Kind::Text, _) => self.charge(size_of::<String>(), &within)?,
                    // A wrong wire type ends the decoding.
                    (Kind::Message { .. }, _) => {}
                }
            }
        }
        for field in layout.fields {
            let Kind::Message { layout, .. } = field.kind else {
                continue;
            };
            let mut of_field = singles
                .iter()
                .filter(|(other, _)| other.number == field.number)
                .map(|(_, piece)| *piece);
            let within = Place::Field(place, field.name);
            match (of_field.next(), of_field.next()) {
                (None, _) => {}
                (Some(only), None) => self.message(layout, &[only], &within)?,
                (Some(first), Some(second)) => {
                    let pieces: Vec<&[u8]> = [first, second].into_iter().chain(of_field).collect();
                    self.message(layout, &pieces, &within)?;
                }
            }
        }
        Ok(())
    }
}

/// The number of list elements in one field: several for a packed list.
fn elements(kind: Kind, value: &Value<'_>) -> usize {
    match (kind, value) {
        // Each element ends with a byte below 0x80.
        (Kind::Varints(_), Value::Bytes(packed)) => {
            packed.iter().filter(|byte| **byte < 0x80).count()
        }
        (Kind::Doubles, Value::Bytes(packed)) => packed.len() / size_of::<f64>(),
        _ => 1,
    }
}

/// The value of a field. The check does not need the numbers.
enum Value<'a> {
    Bytes(&'a [u8]),
    Number,
}

/// The number and the value of the next field. `None` at the end, or if the rest is not valid
/// protobuf.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok()?;
    let value = match key & 7 {
        0 => {
            varint(rest)?;
            Value::Number
        }
        1 => {
            take(rest, 8)?;
            Value::Number
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        3 => {
            skip_group(rest)?;
            Value::Number
        }
        5 => {
            take(rest, 4)?;
            Value::Number
        }
        _ => return None,
    };
    Some((number, value))
}

fn skip_group(rest: &mut &[u8]) -> Option<()> {
    let mut depth = 1;
    while depth > 0 {
        match varint(rest)? & 7 {
            0 => drop(varint(rest)?),
            1 => drop(take(rest, 8)?),
            2 => {
                let length = usize::try_from(varint(rest)?).ok()?;
                take(rest, length)?;
            }
            3 if depth < GROUPS_MAX => depth += 1,
            4 => depth -= 1,
            5 => drop(take(rest, 4)?),
            _ => return None,
        }
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::{
        Message,
        encoding::{WireType, encode_key, encode_varint},
    };

    use super::*;
    use crate::proto::{
        bounds::HasLayout,
        v1::{
            ChatMessage, CreateChatCompletionRequest, CreateCompletionRequest, FunctionCall,
            TokenList,
        },
    };

    fn field(number: u32, value: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut field);
        encode_varint(value.len() as u64, &mut field);
        field.extend_from_slice(value);
        field
    }

    fn problem<M: HasLayout>(encoded: &[u8]) -> Option<String> {
        check(M::LAYOUT, encoded)
            .err()
            .map(|problem| format!("{}: {}", problem.path, problem.what))
    }

    fn is_list_of<M: HasLayout>(encoded: &[u8], told: &str) {
        let problem = problem::<M>(encoded).unwrap();
        assert!(problem.starts_with(told), "{problem}");
    }

    #[test]
    fn every_encoding_of_a_list_is_counted() {
        let parts = field(2, &field(14, b"").repeat(8193));
        is_list_of::<CreateChatCompletionRequest>(
            &parts,
            "messages[0].content_parts: at most 8192 parts",
        );
        let texts = field(1, b"").repeat(32_769);
        let twice = [field(3, &texts), field(3, &texts)].concat();
        is_list_of::<CreateCompletionRequest>(&twice, "prompt_strings.values: at most 65536 texts");
        assert!(
            CreateCompletionRequest::decode(&*twice).is_ok(),
            "prost merges the pieces"
        );
        let packed = field(1, &[1_u8; 4_194_305]);
        is_list_of::<TokenList>(&packed, "values: at most 4194304 token ids");
        is_list_of::<TokenList>(
            &[8, 1].repeat(4_194_305),
            "values: at most 4194304 token ids",
        );
        let prompts = field(3, &field(1, b"").repeat(65_537));
        is_list_of::<CreateCompletionRequest>(
            &prompts,
            "prompt_strings.values: at most 65536 texts",
        );
        let extras: Vec<u8> = (0..1025)
            .flat_map(|number: u32| field(100, &field(1, &number.to_be_bytes())))
            .collect();
        is_list_of::<FunctionCall>(&extras, "extra: at most 1024 members without a field");
    }

    #[test]
    fn the_memory_of_all_structures_is_added() {
        // Each message has a map with one entry, which takes a node.
        let message = field(2, &field(100, b""));
        is_list_of::<CreateChatCompletionRequest>(&message.repeat(16_384), "messages[");
        let text = field(2, &field(2, &[b'x'; 4096]));
        assert_eq!(
            problem::<CreateChatCompletionRequest>(&text.repeat(16_384)),
            None,
            "text takes only its own length"
        );
    }

    #[test]
    fn a_singular_field_that_is_repeated_too_often_is_refused() {
        let audio = field(11, &[0x08, 0x01]);
        assert_eq!(problem::<ChatMessage>(&audio.repeat(MERGED_MAX)), None);
        let told = "audio: at most 16 times in one message; send it once";
        assert_eq!(
            problem::<ChatMessage>(&audio.repeat(MERGED_MAX + 1)).as_deref(),
            Some(told)
        );
    }

    #[test]
    fn unknown_fields_are_skipped_and_invalid_bytes_are_left_to_prost() {
        let tools = field(20, b"").repeat(2049);
        let group = [0x9b, 0x06, 0x9b, 0x06, 0x08, 0x01, 0x9c, 0x06, 0x9c, 0x06];
        let fixed = [0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0x9d, 0x06, 1, 2, 3, 4];
        for before in [&group[..], &fixed, &field(99, b"odd")] {
            let encoded = [before, &tools].concat();
            assert!(CreateChatCompletionRequest::decode(before).is_ok());
            is_list_of::<CreateChatCompletionRequest>(&encoded, "tools: at most 2048 tools");
        }
        for broken in [
            &[0x12, 0x05, 0x00][..],
            &[0xff; 11],
            &[0x9b, 0x06],
            &[0x07],
            &[0x12],
        ] {
            assert!(
                CreateChatCompletionRequest::decode(broken).is_err(),
                "{broken:?}"
            );
            assert_eq!(
                problem::<CreateChatCompletionRequest>(broken),
                None,
                "{broken:?}"
            );
            let encoded = [&tools, broken].concat();
            is_list_of::<CreateChatCompletionRequest>(&encoded, "tools: at most 2048 tools");
        }
    }

    #[test]
    fn a_message_without_its_rare_fields_is_small() {
        use crate::proto::v1::{ChatChunkChoice, ChatDelta, ContentPart, Tool, ToolCall};
        let sizes = [
            size_of::<ChatMessage>(),
            size_of::<ChatDelta>(),
            size_of::<ChatChunkChoice>(),
            size_of::<ContentPart>(),
            size_of::<Tool>(),
            size_of::<ToolCall>(),
        ];
        assert!(
            sizes
                .into_iter()
                .zip([280, 264, 400, 136, 176, 176])
                .all(|(size, max)| size <= max),
            "{sizes:?}"
        );
    }
}
