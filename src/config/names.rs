//! The names of the environment variables that configure Featherwire, and the detection of misspelt
//! names.

use std::{collections::BTreeMap, env, ffi::OsStr};

/// The prefixes of Featherwire's variables.
const PREFIXES: [&str; 2] = ["FEATHERWIRE_", "FEATHERLESS_"];

/// A name without such a prefix counts as misspelt if its edit distance to a known name is at most
/// this.
const EDITS_MAX: usize = 2;

/// The prefix of OpenTelemetry's variables. There are many more of them than Featherwire reads, with
/// similar names.
const FOREIGN_PREFIX: &str = "OTEL_";

/// [`EDITS_MAX`] for these.
const FOREIGN_EDITS_MAX: usize = 1;

/// The lowest Jaro-Winkler similarity of a suggested name, without its prefix.
const SIMILARITY_MIN: f64 = 0.8;

/// The largest number of characters of a name that a message shows.
const NAME_CHARS_MAX: usize = 80;

/// The names of the variables that are set, and the place of each in a sentence, such as
/// ".env line 3: ".
pub(super) type Variables = BTreeMap<String, String>;

/// The variables that the command line knows.
#[derive(Clone, Debug)]
pub struct Names {
    all: Vec<String>,
    of_this_command: Vec<String>,
}

impl Names {
    /// `all` are the variables of every command, `of_this_command` those that the current command
    /// reads.
    pub fn new(all: Vec<String>, of_this_command: Vec<String>) -> Self {
        Self {
            all,
            of_this_command,
        }
    }

    /// Whether `name` is a variable of Featherwire, or looks like one: it has a prefix of
    /// Featherwire, or is a misspelt name.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        let name = name.to_uppercase();
        PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || self.misspelt(&name).is_some()
    }

    /// The known name that is most similar to `name`, if one is similar enough.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        let name: String = name.to_uppercase().split_whitespace().collect();
        if let Some(suggestion) = self.misspelt(&name) {
            return Some(suggestion);
        }
        if let Some(containing) = self.containing(&name) {
            return Some(containing);
        }
        let own = without_prefix(&name);
        let similarity = |known: &str| strsim::jaro_winkler(own, without_prefix(known));
        let suggestion = self
            .all
            .iter()
            .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
        (similarity(suggestion) >= SIMILARITY_MIN).then_some(suggestion)
    }

    /// Warnings about suspicious names of variables: one sentence each, without values.
    pub(super) fn warnings(&self, variables: &Variables) -> Vec<String> {
        let warnings = variables
            .iter()
            .filter_map(|(name, place)| Some(format!("{place}{}", self.warning(name, variables)?)));
        warnings.collect()
    }

    fn warning(&self, name: &str, variables: &Variables) -> Option<String> {
        if self.of_this_command.iter().any(|known| known == name) {
            return None;
        }
        if self.all.iter().any(|known| known == name) {
            // A variable of another command gets no warning, unless it differs by one letter from a
            // variable of this command that is not set.
            let suggestion = self
                .of_this_command
                .iter()
                .find(|known| strsim::damerau_levenshtein(known, name) == 1)?;
            let is_missing = !variables.contains_key(suggestion);
            return is_missing
                .then(|| format!("this command does not read {name}: did you mean {suggestion}?"));
        }
        if !self.is_ours(name) {
            return None;
        }
        Some(match self.nearest(name) {
            Some(suggestion) => format!(
                "{name} is not a variable of Featherwire and has no effect: did you mean \
                 {suggestion}?"
            ),
            None => format!(
                "{name} is not a variable of Featherwire {} and has no effect: `featherwire serve \
                 --help` lists the variables",
                env!("CARGO_PKG_VERSION")
            ),
        })
    }

    /// The known name within the edit distance [`EDITS_MAX`] of `name`.
    fn misspelt(&self, name: &str) -> Option<&str> {
        let edits = |known: &String| strsim::damerau_levenshtein(known, name);
        let suggestion = self.all.iter().min_by_key(|known| edits(known))?;
        let edits_max = match name.starts_with(FOREIGN_PREFIX) {
            true => FOREIGN_EDITS_MAX,
            false => EDITS_MAX,
        };
        (edits(suggestion) <= edits_max).then_some(suggestion)
    }

    /// The only known name that contains all words of `name`, as FEATHERLESS_API_KEY contains those
    /// of FEATHERLESS_KEY.
    fn containing(&self, name: &str) -> Option<&str> {
        let has_words = |known: &&String| {
            let mut words = known.split('_');
            name.split('_').all(|word| words.any(|known| known == word))
        };
        let mut containing = self.all.iter().filter(has_words);
        containing
            .next()
            .filter(|_| containing.next().is_none())
            .map(String::as_str)
    }

    /// Checks that the values of this command's variables are text.
    ///
    /// # Errors
    /// A sentence that names a variable whose value is not UTF-8.
    pub fn check_values(&self) -> Result<(), String> {
        let is_text =
            |name: &&String| env::var_os(name).is_some_and(|value| value.to_str().is_none());
        match self.of_this_command.iter().find(is_text) {
            Some(name) => Err(format!(
                "the value of {name} is not UTF-8 text: set it to UTF-8 text"
            )),
            None => Ok(()),
        }
    }
}

fn without_prefix(name: &str) -> &str {
    PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// `name` as messages show it.
pub(super) fn printable(name: &OsStr) -> String {
    name.to_string_lossy()
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS_MAX)
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::config) fn names() -> Names {
        let serve = [
            "FEATHERLESS_API_KEY",
            "FEATHERLESS_BASE_URL",
            "FEATHERWIRE_LISTEN",
            "FEATHERWIRE_API_KEYS",
            "OTEL_BSP_SCHEDULE_DELAY",
        ];
        let serve = serve.map(str::to_owned).to_vec();
        let mut all = serve.clone();
        all.push("FEATHERWIRE_API_KEY".to_owned());
        Names::new(all, serve)
    }

    fn warning(name: &str) -> Option<String> {
        names().warning(name, &Variables::new())
    }

    #[test]
    fn the_warning_about_a_misspelt_name_suggests_the_right_name() {
        for (wrong, right) in [
            ("FEATHERWIRE_LISTN", "FEATHERWIRE_LISTEN"),
            ("featherwire_listen", "FEATHERWIRE_LISTEN"),
            ("FEATHERWIRELISTEN", "FEATHERWIRE_LISTEN"),
            ("FETHERWIRE_LISTEN", "FEATHERWIRE_LISTEN"),
            ("FEATHERLESS_KEY", "FEATHERLESS_API_KEY"),
            ("FEATHERLESS_URL", "FEATHERLESS_BASE_URL"),
            ("FEATHERWIRE_API_KEY S", "FEATHERWIRE_API_KEYS"),
            ("FEATHERWIRE_BASE_URL", "FEATHERLESS_BASE_URL"),
            ("FEATHERLESS_BASEURL", "FEATHERLESS_BASE_URL"),
            ("FEATHERLESS_APIKEY", "FEATHERLESS_API_KEY"),
            ("OTEL_BSP_SCHEDULE_DELY", "OTEL_BSP_SCHEDULE_DELAY"),
        ] {
            let warning = warning(wrong).unwrap();
            assert!(
                warning.contains(wrong) && warning.ends_with(&format!("did you mean {right}?")),
                "{warning}"
            );
        }
        assert!(warning("FEATHERWIRE_ZZZ").unwrap().contains("--help"));
    }

    #[test]
    fn names_of_other_programs_get_no_warning() {
        for name in [
            "PATH",
            "HOME",
            "FEATHER",
            "OPENAI_API_KEY",
            "API_KEY",
            "LISTEN",
            "FEATHERLESS_API_KEY",
            "OTEL_BLRP_SCHEDULE_DELAY",
            "OTEL_LOGS_EXPORTER",
        ] {
            assert_eq!(warning(name), None, "{name}");
        }
    }

    #[test]
    fn the_key_of_a_client_in_place_of_the_gateway_keys_gets_a_warning() {
        let warning = warning("FEATHERWIRE_API_KEY").unwrap();
        assert!(
            warning.contains("did you mean FEATHERWIRE_API_KEYS?"),
            "{warning}"
        );
    }
}
