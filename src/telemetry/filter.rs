//! Which lines are logged: a level for each module.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Which lines are logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(pub(super) Targets);

impl Filter {
    /// Nothing is logged.
    pub fn off() -> Self {
        Self(Targets::new())
    }

    /// The gateway's lines of this `level`, and the warnings of libraries. Other lines of a library
    /// need a filter that names it.
    pub fn of_level(level: LevelFilter) -> Self {
        Self(with_level(Targets::new(), level))
    }
}

impl FromStr for Filter {
    type Err = String;

    /// Parses a level, or comma-separated parts: a level, as for [`of_level`](Self::of_level), and
    /// levels of modules, such as `hyper=debug`.
    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
            name @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => {
                name.parse::<LevelFilter>().ok()
            }
            _ => None,
        };
        if let Some(level) = level(text) {
            return Ok(Self::of_level(level));
        }
        let mut targets = Targets::new();
        for part in text.split(',') {
            targets = match part.split_once('=') {
                None => level(part).map(|level| with_level(targets, level)),
                Some((target, of)) if is_target(target.trim()) => {
                    level(of).map(|level| targets.with_target(target.trim(), level))
                }
                Some(_) => None,
            }
            .ok_or(
                "expected off, error, warn, info, debug or trace; or levels by module, such as \
                 warn,hyper=debug",
            )?;
        }
        Ok(Self(targets))
    }
}

/// The gateway's lines of this `level`, and the warnings of libraries.
fn with_level(targets: Targets, level: LevelFilter) -> Targets {
    targets
        .with_default(level.min(LevelFilter::WARN))
        .with_target("featherwire", level)
}

/// Whether `target` can be the path of a module.
fn is_target(target: &str) -> bool {
    !target.is_empty()
        && target
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_told_which_ones_there_are() {
        for text in [
            "foo",
            "",
            "infos",
            "warn,foo",
            "hyper=loud",
            "=debug",
            "my lib=debug",
            "warn,,info",
            "1",
        ] {
            let told = text.parse::<Filter>().unwrap_err();
            assert!(
                told.contains("debug") && told.contains("such as"),
                "{text}: {told}"
            );
        }
        for text in [
            "info",
            "DEBUG",
            "off",
            "warn,featherwire=debug",
            "hyper_util::client=trace, info",
        ] {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
    }
}
