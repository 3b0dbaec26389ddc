//! Which processes serve from an SQLite file.

use std::{ffi::OsString, fs, io, path::Path};

/// The name of the file beside the database that processes lock.
const EXTENSION: &str = "gateways";

/// Tells other processes that this one serves from the database, until it is dropped or the process
/// ends, however it ends.
#[derive(Debug)]
pub struct Presence {
    is_alone: bool,
    /// Holds the lock.
    _file: fs::File,
}

impl Presence {
    /// Enters the database at `path`.
    ///
    /// # Errors
    /// The file cannot be created or locked.
    pub(super) fn enter(path: &Path) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push(".");
        name.push(EXTENSION);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(name)?;
        // Each process has a shared lock, so an exclusive one tells that there is no other. A
        // process that starts at the same time may hold it for a moment: then neither is alone.
        let is_alone = match file.try_lock() {
            Ok(()) => {
                file.unlock()?;
                true
            }
            Err(fs::TryLockError::WouldBlock) => false,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        };
        file.lock_shared()?;
        Ok(Self {
            is_alone,
            _file: file,
        })
    }

    /// Whether no other process served from the database at the start of this one.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }
}
