//! The bytes of a block.
//!
//! They begin with a version. Then come the second, the keys, the other texts that records share,
//! and the records, which name keys and texts by their number. Numbers have 7 bits in each byte,
//! the lowest first; the highest bit of a byte tells that more follow. Texts have their length
//! before them.
//!
//! Of the second version are blocks of a gateway with several accounts: each record has its account
//! as one more number of a text.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use uuid::Uuid;

use super::{
    queue::BATCH_RECORDS_MAX,
    record::{Door, Ending, Record, Rpc, TokenSource, Tokens},
    time::second_of,
};

/// A block that has this length takes no more records.
const FULL_BYTES: usize = 192 * 1024;

/// The longest text of a record. Longer ones are cut.
const TEXT_BYTES_MAX: usize = 4096;

/// The longest block. The last record has at most seven texts, and less than 256 other bytes.
pub(super) const BLOCK_BYTES_MAX: usize = FULL_BYTES + 7 * TEXT_BYTES_MAX + 256;

/// The version of blocks without the names of accounts. A block in which no record has an account
/// stays of this version: other gateways of the same database may be older.
const WITHOUT_ACCOUNTS: u8 = 1;

/// The version of blocks with them.
const WITH_ACCOUNTS: u8 = 2;

/// The bytes of a block with the first of these `records`, at least with one, and how many it has.
pub(super) fn encode(second: i64, records: &[Record]) -> (Vec<u8>, usize) {
    let mut keys = Table::default();
    let mut texts = Table::default();
    let mut out = Vec::with_capacity(records.len().min(BATCH_RECORDS_MAX) * 128);
    let mut count = 0;
    let of_second = || {
        let records = records.iter().take(BATCH_RECORDS_MAX);
        records.take_while(|record| second_of(record.ended_at) == second)
    };
    let version = match of_second().all(|record| record.account.is_empty()) {
        true => WITHOUT_ACCOUNTS,
        false => WITH_ACCOUNTS,
    };
    for record in of_second() {
        if count > 0 && keys.bytes.len() + texts.bytes.len() + out.len() >= FULL_BYTES {
            break;
        }
        append(record, version, &mut keys, &mut texts, &mut out);
        count += 1;
    }
    let mut bytes = Vec::with_capacity(keys.bytes.len() + texts.bytes.len() + out.len() + 64);
    bytes.push(version);
    bytes.extend_from_slice(&second.to_le_bytes());
    for (length, content) in [
        (keys.numbers.len(), keys.bytes),
        (texts.numbers.len(), texts.bytes),
        (count, out),
    ] {
        push_number(length, &mut bytes);
        bytes.extend_from_slice(&content);
    }
    (bytes, count)
}

/// What the records of a block share, in the order of its numbers.
struct Table<T> {
    numbers: HashMap<T, usize>,
    bytes: Vec<u8>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            bytes: Vec::new(),
        }
    }
}

impl<T: Eq + Hash> Table<T> {
    /// The number of `value`, which `append` appends if it is new.
    fn number(&mut self, value: T, append: impl FnOnce(&T, &mut Vec<u8>)) -> usize {
        let next = self.numbers.len();
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        append(&value, &mut self.bytes);
        self.numbers.insert(value, next);
        next
    }
}

fn append<'a>(
    record: &'a Record,
    version: u8,
    keys: &mut Table<(Uuid, &'a str)>,
    texts: &mut Table<&'a str>,
    out: &mut Vec<u8>,
) {
    let Record {
        ended_at,
        id,
        key_id,
        key_name,
        door,
        rpc,
        model_asked,
        model,
        account,
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
    let key = keys.number((*key_id, &**key_name), |(id, name), bytes| {
        bytes.extend_from_slice(id.as_bytes());
        push_text(name, bytes);
    });
    let mut text = |text| texts.number(text, |text, bytes| push_text(text, bytes));
    let shared = [
        key,
        text(model_asked),
        text(model),
        error_code.as_deref().map_or(0, |code| text(code) + 1),
    ];
    let account = (version == WITH_ACCOUNTS).then(|| text(account));
    out.extend_from_slice(&[
        door.number(),
        rpc.number(),
        ending.number(),
        tokens.source.number(),
    ]);
    let ms = u16::try_from(ended_at.rem_euclid(1000)).unwrap_or_default();
    out.extend_from_slice(&ms.to_le_bytes());
    out.extend_from_slice(id.as_bytes());
    for number in shared.into_iter().chain(account) {
        push_number(number, out);
    }
    for number in [
        tokens.prompt,
        tokens.completion,
        tokens.reasoning,
        tokens.cached,
        u64::from(*units),
        *unit_ms,
        *waited_ms,
        first_token_ms.map_or(0, |ms| ms.saturating_add(1)),
        *duration_ms,
        u64::from(*attempts),
    ] {
        push_long(number, out);
    }
    for text in [request_id, upstream_request_id] {
        push_text(text.as_deref().unwrap_or_default(), out);
    }
}

fn push_number(number: usize, out: &mut Vec<u8>) {
    push_long(u64::try_from(number).unwrap_or(u64::MAX), out);
}

fn push_long(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    let text = text
        .get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or_default();
    push_number(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// The second and the records of the block with these bytes. `None` if they are not those of a
/// block.
pub(super) fn decode(bytes: &[u8]) -> Option<(i64, Vec<Record>)> {
    let mut fields = Fields(bytes);
    let has_accounts = match fields.array()? {
        [WITHOUT_ACCOUNTS] => false,
        [WITH_ACCOUNTS] => true,
        _ => return None,
    };
    let second = i64::from_le_bytes(fields.array()?);
    let keys = fields.list(|fields| {
        let id = Uuid::from_bytes(fields.array()?);
        Some((id, fields.text()?.into()))
    })?;
    let texts = fields.list(|fields| Some(fields.text()?.into()))?;
    let records = fields.list(|fields| record(second, has_accounts, &keys, &texts, fields))?;
    fields.0.is_empty().then_some((second, records))
}

fn record(
    second: i64,
    has_accounts: bool,
    keys: &[(Uuid, Arc<str>)],
    texts: &[Arc<str>],
    fields: &mut Fields<'_>,
) -> Option<Record> {
    let [door, rpc, ending, source] = fields.array()?;
    let ms = u16::from_le_bytes(fields.array()?);
    let id = Uuid::from_bytes(fields.array()?);
    let (key_id, key_name) = keys.get(fields.number()?)?;
    let (model_asked, model) = (texts.get(fields.number()?)?, texts.get(fields.number()?)?);
    let error_code = match fields.number()?.checked_sub(1) {
        Some(number) => Some(Box::from(&**texts.get(number)?)),
        None => None,
    };
    let account = match has_accounts {
        true => Arc::clone(texts.get(fields.number()?)?),
        false => Arc::default(),
    };
    let tokens = Tokens {
        prompt: fields.long()?,
        completion: fields.long()?,
        reasoning: fields.long()?,
        cached: fields.long()?,
        source: TokenSource::from_number(source)?,
    };
    let units = u32::try_from(fields.long()?).ok()?;
    let (unit_ms, waited_ms) = (fields.long()?, fields.long()?);
    let first_token_ms = fields.long()?.checked_sub(1);
    let duration_ms = fields.long()?;
    let attempts = u32::try_from(fields.long()?).ok()?;
    let mut optional = || {
        let text = fields.text()?;
        Some((!text.is_empty()).then(|| text.into()))
    };
    Some(Record {
        ended_at: second.checked_mul(1000)?.checked_add(ms.into())?,
        id,
        key_id: *key_id,
        key_name: Arc::clone(key_name),
        door: Door::from_number(door)?,
        rpc: Rpc::from_number(rpc)?,
        model_asked: Arc::clone(model_asked),
        model: Arc::clone(model),
        account,
        ending: Ending::from_number(ending)?,
        error_code,
        tokens,
        units,
        unit_ms,
        waited_ms,
        first_token_ms,
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

    fn long(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn number(&mut self) -> Option<usize> {
        self.long()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// A number, and as many values.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.number()?;
        // A value has at least one byte.
        if length > self.0.len() {
            return None;
        }
        (0..length).map(|_| read(self)).collect()
    }
}
