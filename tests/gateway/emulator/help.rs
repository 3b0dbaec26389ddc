//! `featherwire emulator --help`: all faults and switches, in groups, for a narrow terminal.

use std::process::Command;

use featherwire::emulator::{FAULTS, SWITCHES};

#[test]
fn the_help_has_every_fault_in_its_group_and_fits_80_columns() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_featherwire"));
    let output = command
        .args(["emulator", "--help"])
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    // The options before this text are wrapped to the width of the terminal.
    let list = help
        .get(help.find("Models that fail on demand").unwrap()..)
        .unwrap();
    for line in list.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let has = |name: &str| {
        list.lines().any(|line| {
            line.strip_prefix("  ")
                .is_some_and(|line| line.split(' ').next() == Some(name))
        })
    };
    for fault in FAULTS {
        assert!(has(fault.model), "{}", fault.model);
        let title = format!("{}:", fault.group.title());
        assert_eq!(
            list.lines().filter(|line| *line == title).count(),
            1,
            "{title}"
        );
    }
    for switch in SWITCHES {
        assert!(has(switch.value), "{}={}", switch.name, switch.value);
    }
    for option in [
        "--emulator-warm-after",
        "--emulator-release-after",
        "--emulator-switch",
    ] {
        assert!(help.contains(option), "{option}");
    }
}
