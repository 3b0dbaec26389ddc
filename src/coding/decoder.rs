//! Decoders of all codings. They stop now and then, also while they read much and have no output:
//! a body may consist of parts that decode to nothing.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::{Coding, zstd_frames::ZstdFrames};

/// How many bytes are read until the decoder stops.
const STEP_BYTES: usize = 16 * 1024;

/// Decodes data. Reading from it fails with [`ErrorKind::WouldBlock`] when it stops; then the same
/// call continues.
pub(super) enum Decoder<'a> {
    Gzip(MultiGzDecoder<Steps<'a>>),
    Zlib(ZlibDecoder<Steps<'a>>),
    Deflate(DeflateDecoder<Steps<'a>>),
    /// In memory of its own, because it is large.
    Zstd(Box<ZstdFrames<'a>>),
}

impl<'a> Decoder<'a> {
    /// A decoder of `data`, whose consumer takes at most `bytes_max`.
    pub(super) fn new(coding: Coding, data: &'a [u8], bytes_max: usize) -> Self {
        let steps = Steps::new(data, STEP_BYTES);
        match coding {
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(steps)),
            Coding::Deflate if is_zlib(data) => Self::Zlib(ZlibDecoder::new(steps)),
            Coding::Deflate => Self::Deflate(DeflateDecoder::new(steps)),
            Coding::Zstd => Self::Zstd(Box::new(ZstdFrames::new(data, bytes_max))),
        }
    }

    /// The memory that the next read needs, in bytes. Only zstd needs much.
    pub(super) fn bytes_needed(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Zlib(_) | Self::Deflate(_) => 0,
            Self::Zstd(frames) => frames.bytes_needed(),
        }
    }

    /// Whether bytes follow the end of the compressed data. After gzip and zstd nothing but more of
    /// the same can follow, so their decoders fail for other bytes.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::Gzip(_) | Self::Zstd(_) => false,
            Self::Zlib(decoder) => !decoder.get_ref().rest.is_empty(),
            Self::Deflate(decoder) => !decoder.get_ref().rest.is_empty(),
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Zlib(decoder) => decoder.read(out),
            Self::Deflate(decoder) => decoder.read(out),
            Self::Zstd(frames) => frames.read(out),
        }
    }
}

/// The `deflate` of HTTP begins with the two bytes of zlib. Some clients leave them out.
fn is_zlib(data: &[u8]) -> bool {
    let [first, second, ..] = data else {
        return false;
    };
    first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0
}

/// Data that is read in steps. [`ErrorKind::WouldBlock`] is between two of them.
pub(super) struct Steps<'a> {
    rest: &'a [u8],
    step_bytes: usize,
    /// How much of this step is left.
    left: usize,
}

impl<'a> Steps<'a> {
    fn new(rest: &'a [u8], step_bytes: usize) -> Self {
        Self {
            rest,
            step_bytes,
            left: step_bytes,
        }
    }
}

impl BufRead for Steps<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && !self.rest.is_empty() {
            self.left = self.step_bytes;
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(self.rest.get(..self.left).unwrap_or(self.rest))
    }

    fn consume(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.left = self.left.saturating_sub(bytes);
    }
}

impl Read for Steps<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(out)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn gzip_in_parts_is_decoded_in_steps_of_any_size() {
        let part = |data: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        };
        let data = [part(b"abc"), part(b""), part(&[7; 1000]), part(b"d")].concat();
        for step_bytes in 1..=data.len() {
            let mut decoder = MultiGzDecoder::new(Steps::new(&data, step_bytes));
            let (mut decoded, mut stops) = (Vec::new(), 0);
            while let Err(error) = decoder.read_to_end(&mut decoded) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                stops += 1;
            }
            assert!(decoded == [b"abc", &[7; 1000][..], b"d"].concat());
            // The decoder reads its first header before it can stop.
            assert!(stops + 1 >= (data.len() - 1) / step_bytes);
        }
    }
}
