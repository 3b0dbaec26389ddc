//! File descriptors. Every connection needs one, and the system limits their number per process.
//! This module raises the limit, detects when it is reached, and logs that.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use crate::throttle::Throttle;

/// Of the log lines about a shortage, because every call fails then. It is global because
/// descriptors belong to the process.
static THROTTLE: Mutex<Throttle> = Mutex::new(Throttle::new());

/// Raises the soft limit of the process to the hard limit, which needs no privilege. The soft limit
/// is 1024 on many systems because of programs that use `select`. This program does not use it.
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
                "raised the limit of file descriptors"
            ),
            // Some systems have another, lower limit, and refuse.
            Err(error) => {
                tracing::debug!(
                    %error,
                    limit = limit.current,
                    "could not raise the limit of file descriptors"
                );
            }
        }
    }
}

/// The most descriptors that the process may have open. `None` if there is no limit.
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

/// Whether no descriptor is free now. Some system functions, such as the look-up of host names,
/// fail because of a shortage and do not say so.
pub fn are_short() -> bool {
    let probe = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    probe.is_err_and(|error| have_run_out(&error))
}

/// Logs that descriptors have run out, and what to do, at most once a minute.
pub fn log_shortage() {
    let mut throttle = THROTTLE.lock().unwrap_or_else(PoisonError::into_inner);
    if !throttle.lets_through() {
        return;
    }
    drop(throttle);
    tracing::error!(
        limit = limit(),
        "out of file descriptors: new connections wait, and calls fail. Raise the limit (ulimit \
         -n, or LimitNOFILE= of systemd)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_lack_of_descriptors_is_told_from_other_errors() {
        use rustix::io::Errno;
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(have_run_out(&error(Errno::MFILE)) && have_run_out(&error(Errno::NFILE)));
        assert!(!have_run_out(&error(Errno::CONNREFUSED)) && !have_run_out(&error(Errno::NOMEM)));
        assert!(!have_run_out(&io::Error::other("Too many open files")));
    }
}
