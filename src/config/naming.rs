//! Options for the names of models: aliases, and patterns for the ids that lists show.

/// The longest accepted model id, in bytes. Ids appear in errors, and so in headers, which are
/// bounded.
pub const MODEL_BYTES_MAX: usize = 256;

/// Another name of a model.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The name that callers use.
    pub name: String,
    /// The id by which Featherless knows the model.
    pub model: String,
}

/// The aliases of one flag, or of the variable.
#[derive(Clone, Debug)]
pub struct AliasList(pub Vec<Alias>);

/// A pattern of model ids, in which `*` stands for any text and `?` for any character. It ignores
/// case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<char>);

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        glob(text)
    }

    /// Whether the pattern matches the whole `id`.
    pub fn matches(&self, id: &str) -> bool {
        if id.is_ascii() {
            let letter = |place| id.as_bytes().get(place).map(u8::to_ascii_lowercase);
            return self.matches_letters(|place| letter(place).map(char::from));
        }
        let id: Vec<char> = id.to_lowercase().chars().collect();
        self.matches_letters(|place| id.get(place).copied())
    }

    /// Whether the pattern matches the text with these letters, in lower case.
    fn matches_letters(&self, letter_at: impl Fn(usize) -> Option<char>) -> bool {
        let (mut at, mut in_id) = (0, 0);
        // The position of the last `*`, and the end of what it matches in the id. When the rest
        // does not match, the `*` takes one more character.
        let mut star: Option<(usize, usize)> = None;
        while let Some(letter) = letter_at(in_id) {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, in_id));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || *wanted == letter => {
                    (at, in_id) = (at + 1, in_id + 1)
                }
                _ => {
                    let Some((star_at, taken)) = star else {
                        return false;
                    };
                    star = Some((star_at, taken + 1));
                    (at, in_id) = (star_at + 1, taken + 1);
                }
            }
        }
        self.0.iter().skip(at).all(|letter| *letter == '*')
    }
}

pub(super) fn alias_list(text: &str) -> Result<AliasList, String> {
    let list: Result<_, _> = text.split([',', ';']).map(alias).collect();
    list.map(AliasList)
}

fn alias(text: &str) -> Result<Alias, String> {
    let (name, model) = text
        .split_once('=')
        .ok_or("expected NAME=MODEL, such as gpt-4o=org/model")?;
    let (name, model) = (name.trim(), model.trim());
    for id in [name, model] {
        if id.is_empty()
            || id.len() > MODEL_BYTES_MAX
            || id
                .chars()
                .any(|letter| letter == '=' || !letter.is_ascii_graphic())
        {
            return Err(format!(
                "expected NAME=MODEL, such as gpt-4o=org/model, each with at most \
                 {MODEL_BYTES_MAX} characters of visible ASCII without `=`"
            ));
        }
    }
    Ok(Alias {
        name: name.to_owned(),
        model: model.to_owned(),
    })
}

pub(super) fn glob(text: &str) -> Result<Glob, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(
            "the pattern is empty: expected comma-separated ids, such as org/* or *qwen*"
                .to_owned(),
        );
    }
    let is_fit = |letter: &char| letter.is_ascii_alphanumeric() || "/_.:@+-*?".contains(*letter);
    if let Some(letter) = text.chars().find(|letter| !is_fit(letter)) {
        return Err(format!(
            "{letter:?} cannot occur in a model's id: expected ids with `*` for any text and `?` \
             for any character, such as org/*"
        ));
    }
    Ok(Glob(text.to_lowercase().chars().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Models;

    #[test]
    fn a_pattern_matches_the_whole_id_and_ignores_case() {
        let fits = |pattern: &str, id: &str| glob(pattern).unwrap().matches(id);
        for (pattern, id) in [
            ("*", "org/model"),
            ("org/*", "org/model"),
            ("ORG/*", "org/Model"),
            ("*/model", "org/model"),
            ("*llama*8b*", "meta-llama/Meta-Llama-3.1-8B-Instruct"),
            ("org/m?del", "org/model"),
            ("org/model", "org/model"),
            ("**l", "org/model"),
            ("*a*ab", "aaaab"),
        ] {
            assert!(fits(pattern, id), "{pattern} {id}");
        }
        for (pattern, id) in [
            ("org", "org/model"),
            ("org/m", "org/model"),
            ("?", ""),
            ("*/x", "org/model"),
            ("org/??", "org/model"),
        ] {
            assert!(!fits(pattern, id), "{pattern} {id}");
        }
        for bad in [
            "",
            " ",
            "org/[ab]",
            "{a}",
            "a b",
            "!org/*",
            "\\*",
            "=?org",
            "org/a;org/b",
        ] {
            assert!(glob(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contradictory_aliases_are_refused() {
        let check = |lists: &[&str]| {
            let aliases: Result<_, _> = lists.iter().map(|list| alias_list(list)).collect();
            Models {
                aliases: aliases?,
                ..Models::default()
            }
            .check()
        };
        assert_eq!(check(&["a=org/a;b=org/b", "c=org/a, d=org/d"]), Ok(()));
        for (lists, words) in [
            (&["a"][..], "NAME=MODEL"),
            (&["=org/a"], "NAME=MODEL"),
            (&["a="], "NAME=MODEL"),
            (&["a=b c"], "visible ASCII"),
            (&["a=b=c"], "without `=`"),
            (&["org/a=org/a"], "itself"),
            (&["a=org/a", "a=org/b"], "twice"),
            (&["a=b,b=org/b"], "is an alias too"),
            (&["b=org/b,a=b"], "is an alias too"),
            (&["a=b,b=a"], "is an alias too"),
        ] {
            let problem = check(lists).unwrap_err();
            assert!(problem.contains(words), "{lists:?}: {problem}");
        }
    }
}
