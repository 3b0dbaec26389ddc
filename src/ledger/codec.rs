//! Records as bytes, for files: a length, a checksum and the fields in a fixed order. Numbers are
//! little-endian, texts have their length before them.

use uuid::Uuid;

use super::record::{Door, Ending, Record, Rpc, TokenSource, Tokens};

/// The bytes before the fields: their length and their CRC-32.
const PREFIX_BYTES: usize = 8;

/// The largest length of the fields. Their texts are limited, so that is more than enough.
const FIELDS_BYTES_MAX: usize = 16 * 1024;

/// The longest record.
pub(super) const RECORD_BYTES_MAX: usize = PREFIX_BYTES + FIELDS_BYTES_MAX;

/// The version of the order of the fields.
const VERSION: u8 = 1;

/// What the beginning of some bytes is.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// A record, and its length in bytes.
    Record(Box<Record>, usize),
    /// The beginning of a record, perhaps.
    Incomplete,
    /// No record.
    Damaged,
}

/// Appends a record. One that is too long for a file is left out.
pub(super) fn append(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    append_fields(record, out);
    let fields = out.get(start + PREFIX_BYTES..).unwrap_or_default();
    let (length, crc) = (fields.len(), crc32fast::hash(fields));
    let length = u32::try_from(length)
        .ok()
        .filter(|_| length <= FIELDS_BYTES_MAX);
    let Some(length) = length else {
        out.truncate(start);
        return;
    };
    let prefix = [length.to_le_bytes(), crc.to_le_bytes()].concat();
    if let Some(place) = out.get_mut(start..start + PREFIX_BYTES) {
        place.copy_from_slice(&prefix);
    }
}

fn append_fields(record: &Record, out: &mut Vec<u8>) {
    let Record {
        ended_at,
        id,
        key_id,
        key_name,
        door,
        rpc,
        model_asked,
        model,
        ending,
        error_code,
        tokens,
        units,
        unit_ms,
        waited_ms,
        first_token_ms,
        duration_ms,
        attempts,
        request_id,
        upstream_request_id,
    } = record;
    out.extend_from_slice(&[
        VERSION,
        door.number(),
        rpc.number(),
        ending.number(),
        tokens.source.number(),
    ]);
    out.extend_from_slice(&ended_at.to_le_bytes());
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(key_id.as_bytes());
    for number in [
        tokens.prompt,
        tokens.completion,
        tokens.reasoning,
        tokens.cached,
        *unit_ms,
        *waited_ms,
        first_token_ms.unwrap_or(u64::MAX),
        *duration_ms,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [units, attempts] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for text in [
        Some(&**key_name),
        Some(&**model_asked),
        Some(&**model),
        error_code.as_deref(),
        request_id.as_deref(),
        upstream_request_id.as_deref(),
    ] {
        let text = text.unwrap_or_default();
        // A longer text makes the record too long, which `append` checks.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Reads the record at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Read {
    let mut fields = Fields(bytes);
    let Some((length, crc)) = fields.array().zip(fields.array()) else {
        return Read::Incomplete;
    };
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > FIELDS_BYTES_MAX {
        return Read::Damaged;
    }
    let Some(fields) = fields.take(length) else {
        return Read::Incomplete;
    };
    if crc32fast::hash(fields) != u32::from_le_bytes(crc) {
        return Read::Damaged;
    }
    match record(Fields(fields)) {
        Some(record) => Read::Record(Box::new(record), PREFIX_BYTES + length),
        None => Read::Damaged,
    }
}

fn record(mut fields: Fields<'_>) -> Option<Record> {
    let [version, door, rpc, ending, source] = fields.array()?;
    if version != VERSION {
        return None;
    }
    let ended_at = i64::from_le_bytes(fields.array()?);
    let id = Uuid::from_bytes(fields.array()?);
    let key_id = Uuid::from_bytes(fields.array()?);
    let mut long = || fields.array().map(u64::from_le_bytes);
    let tokens = Tokens {
        prompt: long()?,
        completion: long()?,
        reasoning: long()?,
        cached: long()?,
        source: TokenSource::from_number(source)?,
    };
    let (unit_ms, waited_ms, first_token_ms, duration_ms) = (long()?, long()?, long()?, long()?);
    let mut short = || fields.array().map(u32::from_le_bytes);
    let (units, attempts) = (short()?, short()?);
    let mut text = || fields.text();
    let (key_name, model_asked, model) = (text()?, text()?, text()?);
    let mut optional = || {
        let text = text()?;
        Some((!text.is_empty()).then(|| text.into()))
    };
    Some(Record {
        ended_at,
        id,
        key_id,
        key_name: key_name.into(),
        door: Door::from_number(door)?,
        rpc: Rpc::from_number(rpc)?,
        model_asked: model_asked.into(),
        model: model.into(),
        ending: Ending::from_number(ending)?,
        error_code: optional()?,
        tokens,
        units,
        unit_ms,
        waited_ms,
        first_token_ms: (first_token_ms != u64::MAX).then_some(first_token_ms),
        duration_ms,
        attempts,
        request_id: optional()?,
        upstream_request_id: optional()?,
    })
}

/// Bytes that are left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(length.into())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> (Record, Vec<u8>) {
        let record = super::super::tests::record("env-1", "org/m", 1_800_000_000_000);
        let mut bytes = Vec::new();
        append(&record, &mut bytes);
        (record, bytes)
    }

    #[test]
    fn a_record_is_read_as_it_was_appended() {
        let (mut record, bytes) = encoded();
        let read_back = read(&bytes);
        assert_eq!(
            read_back,
            Read::Record(Box::new(record.clone()), bytes.len())
        );
        record.first_token_ms = None;
        record.request_id = None;
        record.error_code = Some("queue_full".into());
        record.ending = Ending::Failed;
        let mut bytes = Vec::new();
        append(&record, &mut bytes);
        bytes.extend_from_slice(b"more");
        let length = bytes.len() - 4;
        assert_eq!(read(&bytes), Read::Record(Box::new(record), length));
    }

    #[test]
    fn a_part_of_a_record_is_incomplete_and_a_changed_one_is_damaged() {
        let (_, bytes) = encoded();
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Read::Incomplete, "{length}");
        }
        for place in PREFIX_BYTES - 4..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1;
            assert_eq!(read(&bytes), Read::Damaged, "{place}");
        }
    }

    #[test]
    fn a_record_that_is_too_long_for_a_file_is_left_out() {
        let (mut record, bytes) = encoded();
        record.model_asked = "m".repeat(70_000).into();
        let mut longer = bytes.clone();
        append(&record, &mut longer);
        assert_eq!(longer, bytes);
    }
}
