//! Reads a small file that the configuration names.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The bytes of the file at `path`, which has at most `bytes_max`.
///
/// # Errors
/// What is wrong and how to fix it, to be written after the name of the file.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let meta = fs::metadata(path).map_err(|error| problem(&error))?;
    if meta.is_dir() {
        return Err("is a directory: name a file".to_owned());
    }
    // Opening a pipe waits, and it can be read only once.
    if !meta.is_file() {
        return Err("is not a regular file, so it cannot be read again: name a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| problem(&error))?;
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| problem(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        return Err(format!(
            "is larger than {bytes_max} bytes: is it the right file?"
        ));
    }
    Ok(bytes)
}

/// Whether users besides the owner and the group may read or change the file at `path`. The group is
/// how a service gets a file that another user owns.
#[cfg(unix)]
pub(super) fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    const OTHERS_READ_OR_WRITE: u32 = 0o006;

    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & OTHERS_READ_OR_WRITE != 0)
}

#[cfg(not(unix))]
pub(super) fn is_open_to_others(_path: &Path) -> bool {
    false
}

fn problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "does not exist: create it, or correct its name (relative names begin in the working \
             directory)"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "is not readable by this user: change its permissions".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}
