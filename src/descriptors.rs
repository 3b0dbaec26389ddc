//! File descriptors: every connection takes one, and the system gives a process only a limited
//! number of them. This room raises the limit, recognises when it is reached, and tells the log so.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How often the log is told that descriptors have run out, at most. While they are short, every
/// call meets it.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// When the log was told last. The descriptors are the process's, and so is this.
static TOLD_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// Raises the process's soft limit to the hard one, which needs no rights. The soft one is 1024 on
/// many systems, for the sake of programs that use `select`; this is none of them.
pub fn raise_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource::Nofile, getrlimit, setrlimit};
        let limit = getrlimit(Nofile);
        let raised = rustix::process::Rlimit {
            current: limit.maximum,
            ..limit
        };
        if raised == limit {
            return;
        }
        match setrlimit(Nofile, raised) {
            Ok(()) => tracing::debug!(
                before = limit.current,
                now = raised.current,
                "limit of file descriptors raised"
            ),
            // Some systems have a lower limit besides, and refuse.
            Err(error) => {
                tracing::debug!(%error, limit = limit.current, "limit of file descriptors not raised")
            }
        }
    }
}

/// How many the process may have open at a time, if there is a limit.
pub fn limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// Whether an operation failed because the process, or the whole system, has no descriptor left.
pub fn have_run_out(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// Whether no descriptor is left at this moment. Some functions of the system, such as those that
/// look up names, fail for want of one without saying so.
pub fn are_short() -> bool {
    let probe = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    probe.is_err_and(|error| have_run_out(&error))
}

/// Tells the log that descriptors have run out, and what to do; once a minute at most.
pub fn log_shortage() {
    let now = Instant::now();
    let mut told_at = TOLD_AT.lock().unwrap_or_else(PoisonError::into_inner);
    if told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) < TOLD_EVERY) {
        return;
    }
    *told_at = Some(now);
    drop(told_at);
    tracing::error!(
        limit = limit(),
        "the gateway is out of file descriptors: new connections wait, and calls fail. Raise the \
         limit (ulimit -n, or LimitNOFILE= of systemd)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn want_of_descriptors_is_told_from_other_errors() {
        use rustix::io::Errno;
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(have_run_out(&error(Errno::MFILE)) && have_run_out(&error(Errno::NFILE)));
        assert!(!have_run_out(&error(Errno::CONNREFUSED)) && !have_run_out(&error(Errno::NOMEM)));
        assert!(!have_run_out(&io::Error::other("Too many open files")));
    }
}
