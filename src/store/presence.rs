//! Which processes serve from an SQLite file.

use std::{ffi::OsString, fs, io, path::Path, time::SystemTime};

/// The name of the file beside the database that processes lock.
const EXTENSION: &str = "gateways";

/// Tells other processes that this one serves from the database, until it is dropped or the process
/// ends, however it ends.
#[derive(Debug)]
pub struct Presence {
    /// Holds the lock. Each process that enters changes its time.
    file: fs::File,
    /// Its time, if no other process was there.
    alone_since: Option<SystemTime>,
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
        let alone_since = match file.try_lock() {
            Ok(()) => {
                file.set_modified(SystemTime::now())?;
                // The file system may round it.
                let time = file.metadata()?.modified()?;
                file.unlock()?;
                Some(time)
            }
            Err(fs::TryLockError::WouldBlock) => None,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        };
        file.lock_shared()?;
        if alone_since.is_none() {
            file.set_modified(SystemTime::now())?;
        }
        Ok(Self { file, alone_since })
    }

    /// Whether no other process served from the database at the start of this one.
    pub fn is_alone(&self) -> bool {
        self.alone_since.is_some()
    }

    /// Whether no other process has served from the database since the start of this one.
    pub fn is_still_alone(&self) -> bool {
        let changed_at = self.file.metadata().and_then(|file| file.modified());
        changed_at.is_ok_and(|at| self.alone_since == Some(at))
    }
}
