//! The columns of a table: how many the terminal has, and texts that must fit into some.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
};

use terminal_size::Width;

/// Every table fits into this number of columns.
pub(super) const MIN: usize = 80;

/// The columns of the terminal that standard output is, at least [`MIN`]. `None` if it is no
/// terminal: nothing is shortened then.
pub(super) fn of_terminal() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(out);
    Some(size.map_or(MIN, |(Width(width), _)| usize::from(width).max(MIN)))
}

/// A text in at most `chars_max` characters: its beginning and its end. What is no visible
/// character is replaced: it could change what a terminal shows.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    cut(text, chars_max, chars_max.saturating_sub(1) / 2)
}

/// As [`shortened`], for the names in a column. Names that differ are cut so that they still
/// differ, if one place of the cut does that for all.
pub(super) fn all_shortened(names: &[String], chars_max: usize) -> Vec<String> {
    let count = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len();
    let chars_max = chars_max.min(longest(names.iter().map(String::as_str)));
    let room = chars_max.saturating_sub(1);
    // The middle first, then nearer and nearer to both ends.
    let nearest_first = (0..=room / 2).flat_map(|step| [room / 2 - step, room / 2 + step]);
    let all_cut = |end| names.iter().map(move |name| cut(name, chars_max, end));
    nearest_first
        .map(|end| all_cut(end).collect::<Vec<_>>())
        .find(|cut| count(cut) == count(names))
        .unwrap_or_else(|| all_cut(room / 2).collect())
}

/// A text in at most `chars_max` characters, of which `end_chars` are its end.
fn cut(text: &str, chars_max: usize, end_chars: usize) -> String {
    let visible = |c: char| if c.is_control() { '?' } else { c };
    let chars = text.chars().count();
    if chars <= chars_max {
        return text.chars().map(visible).collect();
    }
    let start_chars = chars_max.saturating_sub(1).saturating_sub(end_chars);
    let start = text.chars().take(start_chars).map(visible);
    let end = text.chars().skip(chars - end_chars).map(visible);
    start.chain(['…']).chain(end).collect()
}

/// The number of characters of the longest text.
pub(super) fn longest<'t>(texts: impl IntoIterator<Item = &'t str>) -> usize {
    let lengths = texts.into_iter().map(|text| text.chars().count());
    lengths.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_in_its_middle() {
        assert_eq!(shortened("abcdef\u{1b}", 7), "abcdef?");
        assert_eq!(shortened("abcdefg", 4), "ab…g");
        assert_eq!(shortened("rate_limit_exceeded", 12), "rate_l…eeded");
        assert_eq!(shortened("abc", 1), "…");
    }

    #[test]
    fn names_that_differ_still_differ_where_they_are_cut() {
        for [one, other] in [
            ["org/Model-8B-Instruct", "org/Model-70B-Instruct"],
            ["aaaaaaaaaaaaaaaa-1-aa", "aaaaaaaaaaaaaaaa-2-aa"],
            ["aaaa-1-aaaaaaaaaaaaaa", "aaaa-2-aaaaaaaaaaaaaa"],
            ["1-aaaaaaaaaaaaaaaaaaa", "2-aaaaaaaaaaaaaaaaaaa"],
            ["aaaaaaaaaaaaaaaaaaa-1", "aaaaaaaaaaaaaaaaaaa-2"],
            ["aaaaaaa-1-aaaaaaaaaaa", "aaaaaaa-2-aaaaaaaaaaa"],
        ] {
            let names = [one.to_owned(), other.to_owned(), one.to_owned()];
            let cut = all_shortened(&names, 12);
            assert!(cut[0] != cut[1] && cut[0] == cut[2], "{cut:?}");
            assert!(longest(cut.iter().map(String::as_str)) == 12, "{cut:?}");
        }
        // No place of the cut does it.
        let names = ["aaaaaa1aaaaaa", "aaaaaa2aaaaaa"].map(str::to_owned);
        assert_eq!(all_shortened(&names, 4), ["aa…a", "aa…a"]);
    }
}
