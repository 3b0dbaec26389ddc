//! What to do with a value that does not fit its field: how strictly a document is read or written.

use std::cell::Cell;

/// What to do with a value that doesn't fit its field.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// Reading: fail. Writing: a member in `extra` is written in place of the field.
    Normal,
    /// Reading: keep a member of the wrong type in `extra`.
    Lenient,
    /// Writing: `extra` must not name a field that is set.
    Strict,
}

thread_local! {
    // serde can hand an argument to a nested `Deserialize` only with a seed for every type.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Normal) };
}

impl Mode {
    /// The mode in which a document is being read or written now.
    pub(super) fn current() -> Self {
        MODE.get()
    }

    /// Calls `work` in this mode.
    pub(super) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restore(Mode);
        impl Drop for Restore {
            fn drop(&mut self) {
                MODE.set(self.0);
            }
        }
        let _restore = Restore(MODE.replace(self));
        work()
    }
}
