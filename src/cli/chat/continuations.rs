//! The places where a person has written that a line goes on. A text that was pasted has the same
//! signs, which are part of it, so only the editor knows which is which.

use super::command;

/// The signs in the line that is edited.
#[derive(Debug, Default)]
pub(super) struct Continuations {
    line: String,
    /// The places of the signs in `line`, in order.
    places: Vec<usize>,
}

impl Continuations {
    /// Begins with an empty line.
    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.places.clear();
    }

    /// The person has pressed Enter at the end of the line, which goes on if it says so.
    pub(super) fn enter(&mut self, line: &str) {
        self.follow(line);
        if command::is_continued(line) {
            self.places.push(line.len().saturating_sub(1));
        }
    }

    /// The line has changed. Signs outside of the change stay.
    pub(super) fn follow(&mut self, line: &str) {
        let (old, new) = (self.line.as_bytes(), line.as_bytes());
        let same = |(one, other): &(&u8, &u8)| one == other;
        let before = old.iter().zip(new).take_while(same).count();
        let rest = old.len().min(new.len()).saturating_sub(before);
        let ends = old.iter().rev().zip(new.iter().rev());
        let after = ends.take(rest).take_while(same).count();
        let changed = before..old.len().saturating_sub(after);
        let (old_end, new_end) = (old.len(), new.len());
        self.places.retain(|place| !changed.contains(place));
        for place in &mut self.places {
            if *place >= changed.end {
                *place = new_end.saturating_sub(old_end.saturating_sub(*place));
            }
        }
        line.clone_into(&mut self.line);
    }

    /// The finished line without the signs.
    pub(super) fn join(&mut self, line: String) -> String {
        self.follow(&line);
        let mut joined = line;
        for place in self.places.drain(..).rev() {
            // Something may stand between a sign and the end of its line.
            if joined
                .get(place..)
                .is_some_and(|rest| rest.starts_with("\\\n"))
            {
                joined.remove(place);
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text after a line was typed as these versions of it. Enter follows those with a `true`.
    fn typed(versions: &[(&str, bool)]) -> String {
        let mut signs = Continuations::default();
        for (line, is_entered) in versions {
            match is_entered {
                true => signs.enter(line),
                false => signs.follow(line),
            }
        }
        signs.join(versions.last().unwrap().0.to_owned())
    }

    #[test]
    fn only_typed_signs_are_left_out() {
        let enter = true;
        for (versions, text) in [
            (&[("one\\", enter), ("one\\\ntwo", enter)][..], "one\ntwo"),
            (&[("a \\\n  b", false), ("a \\\n  b", enter)], "a \\\n  b"),
            // A pasted text after a typed line, and a correction before it.
            (
                &[
                    ("x\\", enter),
                    ("x\\\n", false),
                    ("x\\\na \\\nb", false),
                    ("why x\\\na \\\nb", enter),
                ],
                "why x\na \\\nb",
            ),
            (
                &[("x\\", enter), ("x\\\ny", false), ("x\ny", enter)],
                "x\ny",
            ),
            (
                &[("x\\", enter), ("x\\\ny", false), ("x\\z\ny", enter)],
                "x\\z\ny",
            ),
            (
                &[("\"\"\"\\", enter), ("\"\"\"\\\n\"\"\"", enter)],
                "\"\"\"\\\n\"\"\"",
            ),
        ] {
            assert_eq!(typed(versions), text, "{versions:?}");
        }
    }
}
