//! The size of the memory, and the part of it that all requests together may use by default.

use std::{fs, path::Path};

/// By default, all requests together may use the memory divided by this number. Decoding and
/// encoding them need at most half of that in addition.
const INFLIGHT_MEMORY_PART: u64 = 4;

/// The bytes that all requests together may use if the size of the memory is unknown.
const INFLIGHT_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;

/// The default of `--max-inflight-request-bytes`, in bytes.
pub(super) fn default_for_requests() -> u64 {
    bytes().map_or(INFLIGHT_BYTES_DEFAULT, |memory| {
        memory / INFLIGHT_MEMORY_PART
    })
}

/// The memory that the process may use, in bytes. `None` if it is unknown.
fn bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|info| of_machine(&info));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = limit_files(&groups)
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .min();
    machine.into_iter().chain(group).min()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn of_machine(info: &str) -> Option<u64> {
    let total = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    total
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The files that may contain the memory limit of the process: those of each control group in
/// `groups` (the text of `/proc/self/cgroup`) and of its parents. A file that contains `max` or
/// does not exist sets no limit.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (root, file) = match parts.next() {
            Some("") => ("/sys/fs/cgroup", "memory.max"),
            Some(controllers) if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(parts.next().unwrap_or("/"));
        let above = group.ancestors().filter_map(|group| group.to_str());
        files.extend(above.map(|group| format!("{root}{}/{file}", group.trim_end_matches('/'))));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_that_of_the_machine_or_of_a_group() {
        assert_eq!(
            of_machine("MemTotal:       24689476 kB\nMemFree: 1 kB\n"),
            Some(24_689_476 * 1024)
        );
        assert_eq!(of_machine("MemFree: 1 kB"), None);
        let files = limit_files("0::/system.slice/gateway.service\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/system.slice/gateway.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            limit_files("5:cpu,memory:/a\n4:pids:/b"),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert!(limit_files("").is_empty());
    }
}
