//! The `featherwire` command.

use std::process::ExitCode;

/// Memory that a burst of large requests took is given back by a thread of the allocator's own,
/// though nothing runs any more; `.cargo/config.toml` says how soon. Allocators without one do that
/// when the thread that allocated allocates again: after 16 prompts of 31 MiB, 559 MiB stayed.
/// Where jemalloc has no such thread (musl, macOS), it is given back with the calls that follow.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    featherwire::cli::main()
}
