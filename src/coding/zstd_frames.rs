//! Decoding zstd: one frame after the other (RFC 8878, section 3).

use std::io::{self, ErrorKind, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder, errors::FrameDecoderError};

/// The largest accepted window of zstd, in bytes: the limit of RFC 9659 for HTTP.
const WINDOW_MAX: u64 = 8 * 1024 * 1024;

/// The largest block, in bytes (RFC 8878, section 3.1.1.2.4).
const BLOCK_MAX: u64 = 128 * 1024;

/// Decodes data that consists of frames. The kind of its error is [`ErrorKind::FileTooLarge`] if a
/// frame announces more than the consumer takes, [`ErrorKind::Unsupported`] for a window that is too
/// large, and [`ErrorKind::WouldBlock`] when it stops after a block without output.
pub(super) struct ZstdFrames<'a> {
    rest: &'a [u8],
    decoder: FrameDecoder,
    bytes_max: u64,
    /// The window of the frame, and whether that is the size of its content.
    window: (u64, bool),
    /// A frame has begun, and its end has not been read.
    is_in_frame: bool,
    /// At least one frame was complete.
    has_ended: bool,
}

impl<'a> ZstdFrames<'a> {
    pub(super) fn new(data: &'a [u8], bytes_max: usize) -> Self {
        let bytes_max = bytes_max as u64;
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(bytes_max.max(WINDOW_MAX));
        Self {
            rest: data,
            decoder,
            bytes_max,
            window: (0, true),
            is_in_frame: false,
            has_ended: false,
        }
    }

    /// The memory that the next step needs, in bytes. The decoder keeps the window, and all of it
    /// until it is full or the frame ends. Nothing of it is handed over before.
    pub(super) fn bytes_needed(&self) -> usize {
        let bytes = match self.window {
            _ if !self.is_in_frame => 0,
            (content, true) => content,
            // Many windows are larger than their content.
            (window, false) => {
                let blocks = self.decoder.blocks_decoded() as u64 + 1;
                let block = window.min(BLOCK_MAX);
                blocks.saturating_mul(block).min(window + block)
            }
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Reads the header of the next frame, or all of a frame to skip.
    fn begin(&mut self) -> io::Result<()> {
        if let Some(bytes) = skipped(self.rest) {
            let rest = self.rest.get(bytes..);
            self.rest = rest.ok_or(ErrorKind::UnexpectedEof)?;
            self.has_ended = true;
            return Ok(());
        }
        let window = window(self.rest);
        match window {
            Some((window, true)) if window > self.bytes_max => {
                return Err(ErrorKind::FileTooLarge.into());
            }
            Some((window, false)) if window > WINDOW_MAX => {
                return Err(ErrorKind::Unsupported.into());
            }
            _ => {}
        }
        let begun = match window {
            Some((_, false)) => self.begin_with_window(),
            _ => self.decoder.reset(&mut self.rest),
        };
        begun.map_err(io::Error::other)?;
        let (window, is_content) = window.unwrap_or_default();
        let largest = if is_content {
            window
        } else {
            self.largest_window()
        };
        self.window = (window.min(largest), is_content);
        self.is_in_frame = true;
        Ok(())
    }

    /// Begins a frame that has a window. A window beyond what the consumer takes has no use: the
    /// frame is too large before it is full. So the decoder reads a header with a smaller one.
    fn begin_with_window(&mut self) -> Result<(), FrameDecoderError> {
        let Some((header, rest)) = self.rest.split_first_chunk::<6>() else {
            return self.decoder.reset(&mut self.rest);
        };
        let mut header = *header;
        let [.., window] = &mut header;
        let largest = (self.largest_window().ilog2() - 10) << 3;
        *window = u8::try_from(largest).map_or(*window, |largest| largest.min(*window));
        let mut source = header.as_slice().chain(rest);
        self.decoder.reset(&mut source)?;
        self.rest = source.into_inner().1;
        Ok(())
    }

    /// The largest window that is of use, in bytes, a power of two. No smaller than a block, as
    /// blocks are never larger than the window.
    fn largest_window(&self) -> u64 {
        let bytes = self.bytes_max.clamp(BLOCK_MAX, WINDOW_MAX);
        bytes.next_power_of_two()
    }
}

impl Read for ZstdFrames<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_in_frame {
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.rest, one);
                decoded.map_err(io::Error::other)?;
            }
            let bytes = self.decoder.read(out)?;
            if bytes > 0 || out.is_empty() {
                return Ok(bytes);
            }
            if self.decoder.is_finished() {
                (self.is_in_frame, self.has_ended) = (false, true);
            }
        } else if self.rest.is_empty() && self.has_ended {
            return Ok(0);
        } else {
            self.begin()?;
        }
        Err(ErrorKind::WouldBlock.into())
    }
}

/// The bytes of the frame at the beginning of `data`, if decoders skip it.
fn skipped(data: &[u8]) -> Option<usize> {
    let ([magic @ 0x50..=0x5f, 0x2a, 0x4d, 0x18], rest) = data.split_first_chunk()? else {
        return None;
    };
    let _ = magic;
    let size = u32::from_le_bytes(*rest.first_chunk()?);
    Some(
        usize::try_from(size)
            .unwrap_or(usize::MAX)
            .saturating_add(8),
    )
}

/// The memory that a `frame` says it needs, in bytes, and whether that is the size of its content
/// (RFC 8878, section 3.1.1).
fn window(frame: &[u8]) -> Option<(u64, bool)> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let (&descriptor, rest) = frame.strip_prefix(&MAGIC)?.split_first()?;
    let is_single = descriptor & 0b0010_0000 != 0;
    if !is_single {
        let window = *rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some((base + base / 8 * u64::from(window & 7), false));
    }
    let dictionary_bytes = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied()?;
    let size_bytes = [1, 2, 4, 8].get(usize::from(descriptor >> 6)).copied()?;
    let size = rest.get(dictionary_bytes..dictionary_bytes + size_bytes)?;
    let size = size
        .iter()
        .rev()
        .fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    // Two bytes count from 256.
    Some((if size_bytes == 2 { size + 256 } else { size }, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of `data`, and how often the decoder stopped.
    fn decoded(data: &[u8]) -> (io::Result<Vec<u8>>, usize) {
        let (mut frames, mut decoded) = (ZstdFrames::new(data, 1024 * 1024), Vec::new());
        for stops in 0.. {
            match frames.read_to_end(&mut decoded) {
                Ok(_) => return (Ok(decoded), stops),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return (Err(error), stops),
            }
        }
        unreachable!()
    }

    #[test]
    fn frames_follow_each_other_and_some_are_skipped() {
        let frame = |data: &[u8]| zstd::bulk::compress(data, 1).unwrap();
        let skip = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let large = vec![5; 600_000];
        let all = [
            skip.clone(),
            frame(b"abc"),
            skip.clone(),
            frame(b""),
            frame(&large),
        ];
        let (read, stops) = decoded(&all.concat());
        assert!(read.unwrap() == [b"abc", &large[..]].concat());
        assert!(stops >= all.len(), "{stops}");
        assert!(decoded(&skip).0.unwrap().is_empty());
        for bad in [
            &b""[..],
            b"abc",
            &[frame(b"abc"), b"x".to_vec()].concat(),
            &[frame(b"abc"), skip[..9].to_vec()].concat(),
            &[frame(b"abc"), frame(b"abc")[..9].to_vec()].concat(),
        ] {
            assert!(decoded(bad).0.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_frame_says_what_it_needs() {
        let frame = |bytes: &[u8]| window(&[&[0x28, 0xb5, 0x2f, 0xfd], bytes].concat());
        assert_eq!(frame(&[0, 13 << 3]), Some((8 * 1024 * 1024, false)));
        assert_eq!(frame(&[0, 13 << 3 | 1]), Some((9 * 1024 * 1024, false)));
        assert_eq!(frame(&[0x20, 7]), Some((7, true)));
        assert_eq!(frame(&[0x60, 1, 0]), Some((257, true)));
        assert_eq!(
            frame(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0]),
            Some((1 << 32, true))
        );
        assert_eq!(frame(&[0x20]), None);
        assert_eq!(window(b"{}"), None);
        // Also the second one.
        let small = zstd::bulk::compress(b"abc", 1).unwrap();
        for (second, kind) in [
            ([0x20, 7], ErrorKind::Other),
            ([0, 13 << 3 | 1], ErrorKind::Unsupported),
        ] {
            let second = [&small[..], &[0x28, 0xb5, 0x2f, 0xfd], &second].concat();
            assert_eq!(decoded(&second).0.unwrap_err().kind(), kind);
        }
        let huge = [&small[..], &[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 1]].concat();
        assert_eq!(
            decoded(&huge).0.unwrap_err().kind(),
            ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn a_step_says_before_it_how_much_memory_it_needs() {
        let block = |bytes: u32| {
            let header = (bytes << 3 | 1 << 1).to_le_bytes();
            [&header[..3], b" "].concat()
        };
        // How often the decoder stops and what it needs, until it hands something over or fails.
        let needed = |header: &[u8], blocks: usize, bytes_max: usize| {
            let blocks = block(128 * 1024).repeat(blocks);
            let data = [&[0x28, 0xb5, 0x2f, 0xfd], header, &blocks].concat();
            let mut frames = ZstdFrames::new(&data, bytes_max);
            let mut needed = Vec::new();
            loop {
                needed.push(frames.bytes_needed());
                match frames.read(&mut [0; 1024]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    read => return (needed, read.ok()),
                }
            }
        };
        const KIB: usize = 1024;
        let announced = needed(&[0xa0, 0, 0, 0x80, 0], 3, 32 * KIB * KIB);
        let content = 8 * KIB * KIB;
        assert_eq!(
            announced,
            (vec![0, content, content, content, content], None)
        );
        let windowed = needed(&[0, 13 << 3], 2, 32 * KIB * KIB);
        assert_eq!(windowed, (vec![0, 128 * KIB, 256 * KIB, 384 * KIB], None));
        let full = needed(&[0, 13 << 3], 100, 32 * KIB * KIB);
        assert_eq!(full.0.last(), Some(&(content + 128 * KIB)));
        assert_eq!(full.1, Some(1024));
        // The consumer takes less than the window.
        let little = needed(&[0, 13 << 3], 100, 4 * KIB);
        assert_eq!(little, (vec![0, 128 * KIB, 256 * KIB], Some(1024)));
        let small = needed(&[0, 0], 1, 32 * KIB * KIB);
        assert_eq!(
            small,
            (vec![0, KIB], None),
            "blocks are no larger than a window"
        );
    }
}
