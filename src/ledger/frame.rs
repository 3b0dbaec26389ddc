//! Blocks in a file. Before each are a mark, its length and its checksum (CRC-32), in little-endian
//! order.

use super::{block::Block, codec::BLOCK_BYTES_MAX};

/// What each block begins with. Behind damaged bytes, it tells where the next one may be.
const MARK: &[u8; 4] = b"\xf3blk";

/// The bytes before a block: the mark, the length and the checksum.
const PREFIX_BYTES: usize = 12;

/// The longest block with what is before it.
pub(super) const FRAME_BYTES_MAX: usize = PREFIX_BYTES + BLOCK_BYTES_MAX;

/// Where the next mark is behind the first byte, or else the length of `bytes`.
pub(super) fn next_mark(bytes: &[u8]) -> usize {
    let mut windows = bytes.windows(MARK.len()).enumerate().skip(1);
    let next = windows.find(|(_, window)| window == MARK);
    next.map_or(bytes.len(), |(place, _)| place)
}

/// What the beginning of some bytes is.
pub(super) enum Framed {
    /// A block, and the length with what is before it.
    Block(Block, usize),
    /// The beginning of a block, perhaps.
    Incomplete,
    /// No block.
    Damaged,
}

/// Appends a block with what is before it.
pub(super) fn append(block: &Block, out: &mut Vec<u8>) {
    let block = block.bytes();
    let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(MARK);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(block).to_le_bytes());
    out.extend_from_slice(block);
}

/// Reads the block at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Framed {
    let mark = bytes.get(..MARK.len()).unwrap_or(bytes);
    if !MARK.starts_with(mark) {
        return Framed::Damaged;
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Framed::Incomplete;
    };
    let [.., l0, l1, l2, l3, c0, c1, c2, c3] = *prefix;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if length > BLOCK_BYTES_MAX {
        return Framed::Damaged;
    }
    let Some(block) = rest.get(..length) else {
        return Framed::Incomplete;
    };
    if crc32fast::hash(block) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Framed::Damaged;
    }
    match Block::read(block.to_vec()) {
        Some(block) => Framed::Block(block, PREFIX_BYTES + length),
        None => Framed::Damaged,
    }
}
