//! Blocks: some records of one second, as bytes for the database and for files. A row of the
//! database for each record would cost several times as much.

use std::{collections::BTreeSet, mem};

use uuid::Uuid;

use super::{
    codec::{decode, encode},
    record::Record,
    time::second_of,
};

/// Records that are stored together, or not at all: at most a batch of them, of calls that ended
/// in the same second. A block that is written twice counts once, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    second: i64,
    id: Uuid,
    records: Vec<Record>,
    bytes: Vec<u8>,
}

impl Block {
    /// Divides records into blocks, in their order.
    pub fn divide(records: Vec<Record>) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut rest = records;
        while let Some(first) = rest.first() {
            let (second, id) = (second_of(first.ended_at), first.id);
            let (bytes, length) = encode(second, &rest);
            let later = rest.split_off(length);
            let records = mem::replace(&mut rest, later);
            blocks.push(Self {
                second,
                id,
                records,
                bytes,
            });
        }
        blocks
    }

    /// The block with these bytes. `None` if they are not those of a block.
    pub(super) fn read(bytes: Vec<u8>) -> Option<Self> {
        let (second, records) = decode(&bytes)?;
        Some(Self {
            second,
            id: records.first()?.id,
            records,
            bytes,
        })
    }

    /// The second in which its calls ended, in Unix time.
    pub(super) fn second(&self) -> i64 {
        self.second
    }

    /// The id of its first record.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// Its records, of which there is at least one.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Its keys, in order.
    pub(super) fn keys(&self) -> BTreeSet<Uuid> {
        self.records.iter().map(|record| record.key_id).collect()
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            codec::BLOCK_BYTES_MAX,
            queue::BATCH_RECORDS_MAX,
            record::{Ending, TokenSource, Tokens},
        },
        *,
    };
    use crate::clock::UnixMs;

    const AT: UnixMs = 1_800_000_000_000;

    fn record_at(ended_at: UnixMs) -> Record {
        super::super::tests::record("env-1", "org/m", ended_at)
    }

    /// Records that have little in common.
    fn some_records() -> Vec<Record> {
        let mut other = super::super::tests::record("a key", "other/m", AT + 999);
        other.first_token_ms = None;
        other.request_id = None;
        other.upstream_request_id = Some("chatcmpl-1".into());
        other.error_code = Some("queue_full".into());
        other.ending = Ending::Failed;
        other.tokens = Tokens {
            prompt: u64::MAX,
            completion: 1 << 35,
            reasoning: 127,
            cached: 128,
            source: TokenSource::Counted,
        };
        (other.units, other.attempts) = (u32::MAX, 0);
        vec![record_at(AT), other, record_at(AT + 1)]
    }

    #[test]
    fn a_block_is_read_as_it_was_made() {
        for records in [some_records(), vec![record_at(-1)]] {
            let blocks = Block::divide(records.clone());
            assert_eq!(blocks.len(), 1);
            assert_eq!(blocks[0].records(), records);
            assert_eq!(blocks[0].second(), second_of(records[0].ended_at));
            assert_eq!(
                Block::read(blocks[0].bytes.clone()),
                blocks.first().cloned()
            );
        }
    }

    #[test]
    fn only_a_block_with_accounts_is_of_the_second_version() {
        let version = |records: Vec<Record>| Block::divide(records).remove(0).bytes[0];
        let mut records = vec![record_at(AT), record_at(AT + 1)];
        assert_eq!(version(records.clone()), 1);
        records[1].account = "second".into();
        assert_eq!(version(records.clone()), 2);
        let block = Block::divide(records.clone()).remove(0);
        assert_eq!(Block::read(block.bytes.clone()), Some(block));
        // That of another second is in another block.
        records[1].ended_at += 1000;
        assert_eq!(version(records), 1);
    }

    #[test]
    fn a_block_has_records_of_one_second() {
        let times = [AT + 998, AT + 999, AT + 1000, AT, AT + 1];
        let blocks = Block::divide(times.map(record_at).into());
        let seconds: Vec<_> = blocks
            .iter()
            .map(|block| (block.second() - second_of(AT), block.records().len()))
            .collect();
        assert_eq!(seconds, [(0, 2), (1, 1), (0, 2)]);
        assert_eq!(Block::divide(Vec::new()), []);
    }

    #[test]
    fn blocks_have_a_largest_number_of_records_and_of_bytes() {
        let records = vec![record_at(AT); BATCH_RECORDS_MAX + 1];
        let lengths = |records: Vec<Record>| -> Vec<usize> {
            let blocks = Block::divide(records);
            assert!(blocks.iter().all(|b| b.bytes.len() <= BLOCK_BYTES_MAX));
            blocks.iter().map(|block| block.records().len()).collect()
        };
        assert_eq!(lengths(records), [BATCH_RECORDS_MAX, 1]);
        let long = |number: usize| {
            let text = |number: usize| format!("{number}-{}", "ä".repeat(5000));
            let mut record = record_at(AT);
            record.model_asked = text(number).into();
            record.request_id = Some(text(number).into());
            record
        };
        let lengths = lengths((0..100).map(long).collect());
        assert_eq!(lengths.iter().sum::<usize>(), 100);
        assert_eq!(lengths.len(), 5, "{lengths:?}");
    }

    #[test]
    fn a_part_of_a_block_is_no_block() {
        let mut records = some_records();
        records[1].account = "an account".into();
        let bytes = Block::divide(records).remove(0).bytes;
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(decode(&longer), None);
        // A changed byte may be another block, but never a panic.
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[place] ^= 1 << bit;
                let _ = decode(&bytes);
            }
        }
    }
}
