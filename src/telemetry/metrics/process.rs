//! The metrics of the process, which most programs have under these names. Linux only.

use super::Samples;

/// Adds the metrics of the process.
#[cfg(not(target_os = "linux"))]
pub fn add_process(_: &mut Samples) {}

/// Adds the metrics of the process.
#[cfg(target_os = "linux")]
pub fn add_process(samples: &mut Samples) {
    linux::add(samples);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use rustix::{param, process};

    use super::{super::table, Samples};

    #[expect(clippy::cast_precision_loss, reason = "sizes and times for graphs")]
    pub(super) fn add(samples: &mut Samples) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program, in brackets, may contain spaces.
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, fields)| fields.split(' ').collect())
            .unwrap_or_default();
        let number = |place: usize| fields.get(place)?.parse::<f64>().ok();
        let ticks = param::clock_ticks_per_second() as f64;
        // Fields 14, 15, 22 and 24 of proc_pid_stat(5).
        let cpu = number(11)
            .zip(number(12))
            .map(|(user, system)| (user + system) / ticks);
        samples.add_known(table::PROCESS_CPU, cpu);
        let memory = number(21).map(|pages| pages * param::page_size() as f64);
        samples.add_known(table::PROCESS_MEMORY, memory);
        let start = number(19)
            .zip(boot_time())
            .map(|(start, boot)| boot + start / ticks);
        samples.add_known(table::PROCESS_START, start);
        let descriptors = fs::read_dir("/proc/self/fd").map(|all| all.count() as f64);
        samples.add_known(table::PROCESS_FDS, descriptors.ok());
        let limit = process::getrlimit(process::Resource::Nofile).current;
        samples.add_known(table::PROCESS_FDS_MAX, limit.map(|limit| limit as f64));
    }

    /// When the system started, in seconds since 1970.
    fn boot_time() -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .parse()
            .ok()
    }
}
