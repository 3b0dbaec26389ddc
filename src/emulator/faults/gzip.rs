//! A gzip member (RFC 1952) of stored blocks: valid, but not compressed. The code is too small to
//! justify a dependency.

use bytes::Bytes;

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const BLOCK_BYTES_MAX: usize = 0xffff;
/// The polynomial of CRC-32, with its bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Writes a gzip member block by block. A client can decode each [`Gzip::block`] when it arrives.
pub struct Gzip {
    crc: u32,
    length: u32,
    has_begun: bool,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            crc: u32::MAX,
            length: 0,
            has_begun: false,
        }
    }
}

impl Gzip {
    pub fn compress(data: &[u8]) -> Bytes {
        let mut gzip = Self::default();
        [gzip.block(data), gzip.end()].concat().into()
    }

    pub fn block(&mut self, data: &[u8]) -> Bytes {
        let mut out = self.header();
        for part in data.chunks(BLOCK_BYTES_MAX) {
            stored(&mut out, part, false);
        }
        self.length = self.length.wrapping_add(data.len() as u32);
        for byte in data {
            self.crc ^= u32::from(*byte);
            for _ in 0..8 {
                let is_odd = self.crc & 1 == 1;
                self.crc = (self.crc >> 1) ^ if is_odd { POLYNOMIAL } else { 0 };
            }
        }
        out.into()
    }

    pub fn end(mut self) -> Bytes {
        let mut out = self.header();
        stored(&mut out, &[], true);
        out.extend((!self.crc).to_le_bytes());
        out.extend(self.length.to_le_bytes());
        out.into()
    }

    fn header(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.has_begun, true) {
            Vec::new()
        } else {
            HEADER.to_vec()
        }
    }
}

/// A stored block: a flag for the last block, the length, the inverted length, and the bytes.
fn stored(out: &mut Vec<u8>, part: &[u8], is_last: bool) {
    let length = part.len() as u16;
    out.push(u8::from(is_last));
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is the one of Python's `zlib.crc32`, and the layout is that of RFC 1952.
    #[test]
    fn a_member_has_its_header_its_blocks_and_its_check_sum() {
        let bytes = Gzip::compress(b"123456789");
        assert_eq!(bytes[..10], HEADER);
        assert_eq!(bytes[10..15], [0, 9, 0, 0xf6, 0xff]);
        assert_eq!(&bytes[15..24], b"123456789");
        assert_eq!(bytes[24..29], [1, 0, 0, 0xff, 0xff]);
        assert_eq!(bytes[29..33], 0xcbf4_3926_u32.to_le_bytes());
        assert_eq!(bytes[33..], 9_u32.to_le_bytes());
    }
}
