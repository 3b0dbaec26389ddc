//! The lock of a file that only one gateway may read and remove.

use std::{fs::File, thread::sleep, time::Duration};

/// How often the lock of a file is tried, and the pause between. A child process that another thread
/// has just started shares the locks of this process until it runs its own program, also those of
/// files that were closed since.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Locks the file, until it is closed. False if another process has it. May block for a moment.
pub(super) fn lock(file: &File) -> bool {
    for _ in 1..TRIES {
        if file.try_lock().is_ok() {
            return true;
        }
        sleep(PAUSE);
    }
    file.try_lock().is_ok()
}
