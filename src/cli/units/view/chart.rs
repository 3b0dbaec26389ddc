//! The last minutes, as charts.

use ratatui_core::{
    style::Color,
    text::{Line, Span},
    widgets::Widget,
};

use super::{
    super::{
        plain::units_max,
        state::{Point, State, number},
    },
    NAME_COLUMNS, Page,
};
use crate::proto::v1::Concurrency;

const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

impl Page<'_> {
    pub(super) fn history(&mut self, state: &State, snapshot: &Concurrency) {
        let used = |point: &Point| point.used;
        let waiting = |point: &Point| point.waiting;
        let limit = number(units_max(snapshot).unwrap_or_default());
        let rows = self.chart_rows;
        self.chart("used", state, used, limit, rows, Color::Cyan);
        if self.is_roomy {
            self.chart("waiting", state, waiting, 0, rows, Color::Yellow);
            let seconds = state.history.len().min(usize::from(self.chart_columns()));
            let text = format!("the last {seconds} s");
            self.line([self.name(""), Span::styled(text, self.look.dim())]);
        }
    }

    fn chart_columns(&self) -> u16 {
        self.left.width.saturating_sub(NAME_COLUMNS)
    }

    /// The history of a number, newest at the right. `top` is the least number of the highest bar.
    fn chart(
        &mut self,
        name: &str,
        state: &State,
        value: impl Fn(&Point) -> u32,
        top: u32,
        rows: u16,
        colour: Color,
    ) {
        let columns = self.chart_columns();
        let area = self.rows(rows);
        let history = &state.history;
        let shown = history
            .iter()
            .skip(history.len().saturating_sub(columns.into()));
        let shown: Vec<_> = shown.map(|point| point.as_ref().map(&value)).collect();
        let top = shown
            .iter()
            .flatten()
            .copied()
            .max()
            .unwrap_or_default()
            .max(top)
            .max(1);
        let first = columns - u16::try_from(shown.len()).unwrap_or(columns).min(columns);
        for row in 0..area.height {
            let below = u32::from(area.height - row - 1) * 8;
            let mut text = " ".repeat(usize::from(first));
            for value in &shown {
                let sign = value.map(|value| {
                    let height = (value * 8 * u32::from(rows)).div_ceil(top);
                    let eighths = height.saturating_sub(below).min(8);
                    BARS.get(eighths as usize).copied().unwrap_or_default()
                });
                // A second without news is no zero.
                let gap = if below == 0 { "·" } else { " " };
                text.push_str(match sign {
                    Some(" ") if below == 0 => "▁",
                    Some(sign) => sign,
                    None => gap,
                });
            }
            let name = if row + 1 == area.height { name } else { "" };
            let spans = [
                self.name(name),
                Span::styled(text, self.look.colour(colour)),
            ];
            let mut line = area;
            line.y += row;
            line.height = 1;
            Line::from_iter(spans).render(line, self.buffer);
        }
    }
}
