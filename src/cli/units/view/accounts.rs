//! The accounts, if there are several.

use ratatui_core::{
    style::{Color, Style},
    text::Span,
};

use super::{
    super::{
        super::printable,
        accounts::{is_refused, words},
        state::State,
    },
    Page,
};
use crate::proto::v1::Concurrency;

/// The rows of accounts, and a row that says how many more there are.
const ROWS_MAX: usize = 6;

impl Page<'_> {
    /// Each account. With one account this takes no row.
    pub(super) fn accounts(&mut self, state: &State, snapshot: &Concurrency) {
        let accounts = &snapshot.accounts;
        let shown = match accounts.len() {
            all if all > ROWS_MAX => ROWS_MAX - 1,
            all => all,
        };
        for (row, account) in accounts.iter().take(shown).enumerate() {
            let style = match is_refused(account) {
                true => self.look.colour(Color::Red),
                false => Style::new(),
            };
            let name = self.name(if row == 0 { "account" } else { "" });
            let words = format!("{}: {}", account.name, words(account, state.age()));
            let words = printable::line(&words).into_owned();
            self.line([name, Span::styled(words, style)]);
        }
        if accounts.len() > shown {
            let more = format!("and {} more", accounts.len() - shown);
            let name = self.name("");
            self.line([name, Span::styled(more, self.look.dim())]);
        }
    }
}
