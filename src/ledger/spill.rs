//! The files with the blocks of records that the database could not take. They survive a restart.
//!
//! A gateway appends to a file of its own, whose name has the time of its beginning, and locks it.
//! When the database is back, it reads the oldest file from its beginning, and removes it after its
//! last block is in the database. A gateway that starts takes over the files that no running one
//! has locked. Blocks that are written twice, after a crash, count once.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    block::Block,
    file_lock,
    frame::{self, FRAME_BYTES_MAX, Framed},
    queue::BATCH_RECORDS_MAX,
};

/// What the names of the files begin and end with.
const NAME_START: &str = "ledger-";
const NAME_END: &str = ".spill";

/// The first bytes of each file, with the version of its form.
const MAGIC: &[u8; 8] = b"FWSPILL1";

/// How much of a file is read at once.
const READ_BYTES: usize = 1024 * 1024;

// A block always fits.
const _: () = assert!(READ_BYTES >= 2 * FRAME_BYTES_MAX);

/// The spill files of one directory.
#[derive(Debug)]
pub(super) struct Spill {
    directory: PathBuf,
    bytes_max: u64,
    /// The oldest is first. The last one may be the one that is written.
    files: VecDeque<SpillFile>,
    is_writing: bool,
}

#[derive(Debug)]
struct SpillFile {
    path: PathBuf,
    /// It is locked while this is open.
    file: File,
    length: u64,
    /// Up to here the blocks are in the database.
    read: u64,
}

/// The next blocks of a file, with at most [`BATCH_RECORDS_MAX`] records, and where they end.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) blocks: Vec<Block>,
    /// How many bytes between them are no blocks.
    pub(super) damaged_bytes: u64,
    end: u64,
}

/// Why blocks are not in a file.
#[derive(Debug)]
pub(super) enum SpillError {
    /// The files have reached their limit.
    Full,
    /// The file cannot be written.
    Io(io::Error),
}

impl From<io::Error> for SpillError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Spill {
    /// The files in `directory`, which have at most `bytes_max` bytes together.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn open(directory: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let mut spill = Self {
            directory,
            bytes_max,
            files: VecDeque::new(),
            is_writing: false,
        };
        let entries = match fs::read_dir(&spill.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(spill),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_spill(path))
            .collect();
        paths.sort();
        let files = paths
            .into_iter()
            .filter_map(|path| SpillFile::take_over(path).ok()?);
        spill.files.extend(files);
        Ok(spill)
    }

    /// Whether there are blocks that are not in the database.
    pub(super) fn has_blocks(&self) -> bool {
        !self.files.is_empty()
    }

    /// How many bytes the files have together.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// Where the files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends blocks, and waits until they are on the disk.
    ///
    /// # Errors
    /// None of them is in a file, unless the disk has a fault. A file without blocks is removed.
    pub(super) fn append(&mut self, blocks: &[Block]) -> Result<(), SpillError> {
        let mut bytes = Vec::new();
        for block in blocks {
            frame::append(block, &mut bytes);
        }
        let added = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.bytes().saturating_add(added) > self.bytes_max {
            return Err(SpillError::Full);
        }
        if !self.is_writing {
            let file = SpillFile::create(&self.directory)?;
            self.files.push_back(file);
            self.is_writing = true;
        }
        let Some(file) = self.files.back_mut() else {
            return Ok(());
        };
        let before = file.length;
        if let Err(error) = file.append(&bytes) {
            // On a full disk, a part of them is there.
            let is_torn = file.cut(before).is_err();
            let is_empty = !is_torn && before <= file.read;
            if is_empty {
                let _ = fs::remove_file(&file.path);
                self.files.pop_back();
            }
            // What follows a torn block is in a file of its own.
            self.is_writing = !is_torn && !is_empty;
            return Err(error.into());
        }
        Ok(())
    }

    /// The oldest blocks that are not in the database. `None` if there are none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch>> {
        let Some(file) = self.files.front_mut() else {
            return Ok(None);
        };
        file.next().map(Some)
    }

    /// The blocks of a batch of [`next`](Self::next) are in the database. The file is removed after
    /// its last one.
    ///
    /// # Errors
    /// The file cannot be removed. It is read again at the next start.
    pub(super) fn remove(&mut self, batch: &Batch) -> io::Result<()> {
        let Some(file) = self.files.front_mut() else {
            return Ok(());
        };
        file.read = batch.end;
        if file.read < file.length {
            return Ok(());
        }
        let removed = fs::remove_file(&file.path);
        self.files.pop_front();
        self.is_writing &= !self.files.is_empty();
        removed
    }

    /// Leaves the oldest file where it is, for the next start.
    pub(super) fn skip_file(&mut self) {
        self.files.pop_front();
        self.is_writing &= !self.files.is_empty();
    }
}

fn is_spill(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(NAME_START) && name.ends_with(NAME_END))
}

impl SpillFile {
    /// Creates a file. Only its owner may read it.
    fn create(directory: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let name = format!("{NAME_START}{}{NAME_END}", Uuid::now_v7());
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        file.try_lock()?;
        let mut created = Self {
            path,
            file,
            length: 0,
            read: 0,
        };
        let begun = created.append(MAGIC);
        begun.inspect_err(|_| drop(fs::remove_file(&created.path)))?;
        created.read = created.length;
        // The name of the file must survive a power failure as well.
        #[cfg(unix)]
        File::open(directory)?.sync_all()?;
        Ok(created)
    }

    /// The file of a gateway that has ended. `None` if another gateway has it.
    fn take_over(path: PathBuf) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).append(true).open(&path)?;
        if !file_lock::lock(&file) {
            return Ok(None);
        }
        let length = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        let has_magic = (&file).read_exact(&mut magic).is_ok() && &magic == MAGIC;
        let start = if has_magic { MAGIC.len() } else { 0 };
        Ok(Some(Self {
            path,
            file,
            length,
            read: u64::try_from(start).unwrap_or_default(),
        }))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        self.length = self.file.metadata()?.len();
        result
    }

    /// Cuts off what a failed `append` has left.
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length).map(|()| self.length = length)
    }

    /// The next blocks. What is no block is skipped, up to the next mark.
    fn next(&mut self) -> io::Result<Batch> {
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(READ_BYTES).unwrap_or(u64::MAX);
        (&self.file).take(limit).read_to_end(&mut bytes)?;
        let is_last = bytes.len() < READ_BYTES;
        let mut batch = Batch::default();
        let (mut place, mut records) = (0, 0);
        while let Some(rest) = bytes.get(place..).filter(|rest| !rest.is_empty()) {
            place += match frame::read(rest) {
                Framed::Block(block, length) => {
                    records += block.records().len();
                    // It is the first one of the next batch.
                    if records > BATCH_RECORDS_MAX && !batch.blocks.is_empty() {
                        break;
                    }
                    batch.blocks.push(block);
                    length
                }
                // The rest of it is read the next time.
                Framed::Incomplete if !is_last => break,
                Framed::Incomplete | Framed::Damaged => {
                    let length = frame::next_mark(rest);
                    batch.damaged_bytes += u64::try_from(length).unwrap_or_default();
                    length
                }
            };
        }
        batch.end = self.read + u64::try_from(place).unwrap_or_default();
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::Record, *};

    /// A directory that is removed at the end of a test.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("featherwire-spill-{}", Uuid::now_v7()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn files(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const BYTES_MAX: u64 = 64 * 1024 * 1024;

    /// Blocks of one record.
    fn blocks(number: i64) -> Vec<Block> {
        let record = |at| super::super::tests::record("env-1", "org/m", at * 1000);
        Block::divide((0..number).map(record).collect())
    }

    fn read_all(spill: &mut Spill) -> (Vec<Block>, u64) {
        let (mut blocks, mut damaged) = (Vec::new(), 0);
        while let Some(batch) = spill.next().unwrap() {
            let records: usize = batch.blocks.iter().map(|block| block.records().len()).sum();
            assert!(records <= BATCH_RECORDS_MAX);
            blocks.extend(batch.blocks.iter().cloned());
            damaged += batch.damaged_bytes;
            spill.remove(&batch).unwrap();
        }
        (blocks, damaged)
    }

    #[test]
    fn blocks_are_read_in_their_order_and_then_the_file_is_gone() {
        let directory = Directory::new();
        let mut spill = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
        assert!(!spill.has_blocks());
        let large: Vec<Record> = (0..25_000)
            .map(|_| super::super::tests::record("env-1", "org/m", 0))
            .collect();
        let large = Block::divide(large);
        assert_eq!(large[0].records().len(), BATCH_RECORDS_MAX);
        // More than is read at once.
        let length: usize = large.iter().map(|block| block.bytes().len()).sum();
        assert!(length > READ_BYTES, "{length}");
        let blocks = [blocks(7), large, blocks(7)].concat();
        for part in blocks.chunks(3) {
            spill.append(part).unwrap();
        }
        assert_eq!(directory.files().len(), 1);
        assert_eq!(read_all(&mut spill), (blocks.clone(), 0));
        assert_eq!(directory.files(), Vec::<PathBuf>::new());
        spill.append(&blocks[..1]).unwrap();
        assert_eq!(read_all(&mut spill).0.len(), 1);
    }

    #[test]
    fn a_file_is_read_after_a_restart_unless_a_running_gateway_has_it() {
        let directory = Directory::new();
        let mut spill = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
        let blocks = blocks(10);
        spill.append(&blocks).unwrap();
        let mut other = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
        assert!(!other.has_blocks());
        other.append(&blocks[..1]).unwrap();
        drop(spill);
        let mut next = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
        // A second write does not touch the file of the gateway before.
        next.append(&blocks[..3]).unwrap();
        assert_eq!(directory.files().len(), 3);
        let expected = [&blocks[..], &blocks[..3]].concat();
        assert_eq!(read_all(&mut next), (expected, 0));
        assert_eq!(directory.files().len(), 1);
    }

    #[test]
    fn what_is_damaged_is_skipped_and_counted() {
        let blocks = blocks(30);
        for is_torn in [true, false] {
            let directory = Directory::new();
            let mut spill = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
            spill.append(&blocks).unwrap();
            drop(spill);
            let path = directory.files().remove(0);
            let mut bytes = fs::read(&path).unwrap();
            let length = (bytes.len() - MAGIC.len()) / blocks.len();
            // In the middle of the block number 20.
            let place = MAGIC.len() + 20 * length + length / 2;
            let lost = if is_torn {
                bytes.truncate(place);
                20..30
            } else {
                bytes[place] ^= 0xff;
                20..21
            };
            fs::write(&path, bytes).unwrap();
            let mut spill = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
            let (read, damaged) = read_all(&mut spill);
            let left: Vec<_> = (0..30)
                .filter(|number| !lost.contains(number))
                .map(|number| blocks[number].clone())
                .collect();
            assert_eq!(read, left);
            let lost_bytes = if is_torn { length / 2 } else { length };
            assert_eq!(damaged, lost_bytes as u64);
            assert!(directory.files().is_empty());
        }
    }

    #[test]
    fn a_file_that_is_none_of_ours_has_no_block() {
        let directory = Directory::new();
        fs::write(directory.0.join("ledger-x.spill"), b"hello").unwrap();
        fs::write(directory.0.join("other"), b"hello").unwrap();
        let mut spill = Spill::open(directory.0.clone(), BYTES_MAX).unwrap();
        assert_eq!(read_all(&mut spill), (Vec::new(), 5));
        assert_eq!(directory.files().len(), 1);
    }

    #[test]
    fn the_files_have_at_most_the_bytes_that_they_may_have() {
        let directory = Directory::new();
        let mut spill = Spill::open(directory.0.clone(), 4000).unwrap();
        let blocks = blocks(100);
        let mut kept = 0;
        while spill.append(&blocks[..5]).is_ok() {
            kept += 5;
        }
        let size = fs::metadata(directory.files().remove(0)).unwrap().len();
        assert!(size <= 4000 && kept > 0, "{size}");
        assert!(matches!(spill.append(&blocks[..5]), Err(SpillError::Full)));
        assert_eq!(read_all(&mut spill).0.len(), kept);
        // There is room again.
        spill.append(&blocks[..5]).unwrap();
    }
}
