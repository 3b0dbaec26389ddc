//! The full screen as cells of text, from 40 columns and 10 rows on.

use std::time::{Duration, Instant};

use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Widget,
};

use super::{
    super::{columns, printable},
    cluster,
    plain::{count, seconds, waiting},
    state::{Link, Running, State, number},
};
use crate::proto::v1::GatewayUnits;

mod accounts;
mod cells;
mod chart;
mod circuits;
#[cfg(test)]
mod tests;

use self::cells::letter;

/// From this number of rows on, there are empty rows and larger charts.
const ROOMY_ROWS: u16 = 22;

/// From this number of rows on, the charts are larger still.
const LARGE_ROWS: u16 = 28;

/// Below this number of columns, names take no room from what is long.
const NARROW_COLUMNS: u16 = 60;

/// From this number of columns on, requests and keys are side by side.
const WIDE_COLUMNS: u16 = 90;

/// The columns of the table of keys.
const KEYS_COLUMNS: u16 = 41;

/// The columns of the names at the left.
const NAME_COLUMNS: u16 = 9;

/// The columns of a request before its model.
const MODEL_AT: usize = 20;

/// The colours of requests. Each has black letters on it.
const COLOURS: [Color; 6] = [
    Color::Cyan,
    Color::Green,
    Color::Yellow,
    Color::Magenta,
    Color::LightBlue,
    Color::LightRed,
];

/// How the screen looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) has_colours: bool,
}

impl Look {
    fn colour(self, colour: Color) -> Style {
        match self.has_colours {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A cell of the request with this mark.
    fn request(self, mark: usize) -> Style {
        match self.has_colours {
            true => {
                let colour = COLOURS.get(mark % COLOURS.len()).copied();
                Style::new()
                    .fg(Color::Black)
                    .bg(colour.unwrap_or(Color::Gray))
            }
            false => Style::new().add_modifier(Modifier::REVERSED),
        }
    }
}

/// Draws the state.
pub(super) fn draw(state: &State, look: Look, area: Rect, buffer: &mut Buffer) {
    let mut page = Page {
        look,
        is_roomy: area.height >= ROOMY_ROWS,
        chart_rows: match area.height {
            LARGE_ROWS.. => 3,
            ROOMY_ROWS.. => 2,
            _ => 1,
        },
        left: area,
        buffer,
    };
    page.title(state);
    let Some(snapshot) = &state.snapshot else {
        page.line([Span::raw("waiting for the first news of the units")]);
        return;
    };
    let gateway = state.gateway();
    let running = state.running();
    page.gap();
    page.units(snapshot, &gateway, &running);
    page.gap();
    page.queue(state, &gateway);
    page.accounts(state, snapshot);
    page.gap();
    page.history(state, snapshot);
    page.gap();
    page.circuits(state, &gateway);
    if page.left.width >= WIDE_COLUMNS {
        let (requests, keys) = page.split(page.left.width - KEYS_COLUMNS - 2);
        page.left = requests;
        page.requests(&running);
        page.left = keys;
        page.keys(&gateway);
    } else {
        // The keys get a third of what is left, and only what they need.
        let wanted = u16::try_from(gateway.keys.len()).unwrap_or(u16::MAX);
        let rows = wanted.saturating_add(1).min(page.left.height / 3);
        // Without a key, their names are worth nothing.
        let rows = if rows > 1 { rows } else { 0 };
        let mut keys = page.left;
        keys.y += page.left.height - rows;
        keys.height = rows;
        page.left.height -= rows;
        page.requests(&running);
        page.left = keys;
        if rows > 1 {
            page.keys(&gateway);
        }
    }
}

/// The rest of the screen, from the top down.
struct Page<'b> {
    look: Look,
    is_roomy: bool,
    chart_rows: u16,
    left: Rect,
    buffer: &'b mut Buffer,
}

impl Page<'_> {
    /// Takes some rows.
    fn rows(&mut self, rows: u16) -> Rect {
        let rows = rows.min(self.left.height);
        let mut taken = self.left;
        taken.height = rows;
        self.left.y += rows;
        self.left.height -= rows;
        taken
    }

    fn gap(&mut self) {
        if self.is_roomy {
            self.rows(1);
        }
    }

    fn line<'t>(&mut self, spans: impl IntoIterator<Item = Span<'t>>) {
        let row = self.rows(1);
        Line::from_iter(spans).render(row, self.buffer);
    }

    /// The columns at the left, and those after two empty ones.
    fn split(&self, columns: u16) -> (Rect, Rect) {
        let (mut left, mut right) = (self.left, self.left);
        left.width = columns;
        right.x += columns + 2;
        right.width -= columns + 2;
        (left, right)
    }

    fn name<'t>(&self, name: &'t str) -> Span<'t> {
        Span::styled(
            format!("{name:<width$}", width = usize::from(NAME_COLUMNS)),
            self.look.dim(),
        )
    }

    fn title(&mut self, state: &State) {
        let look = self.look;
        let row = self.rows(1);
        let (status, style) = match &state.link {
            Link::Live => ("● live".to_owned(), look.colour(Color::Green)),
            Link::Connecting => ("○ connecting".to_owned(), look.colour(Color::Yellow)),
            Link::Lost { until, .. } => {
                let rest = until.saturating_duration_since(Instant::now());
                let rest = rest.as_secs_f64().ceil();
                (
                    format!("○ lost, again in {rest} s"),
                    look.colour(Color::Red),
                )
            }
        };
        let title = [
            Span::styled("featherwire units", look.bold()),
            Span::styled(format!("  {}", state.address), look.dim()),
        ];
        Line::from_iter(title).render(row, self.buffer);
        let status = [
            Span::raw("  "),
            Span::styled(status, style),
            Span::styled("  q quits", look.dim()),
        ];
        let status = Line::from_iter(status);
        let width = u16::try_from(status.width())
            .unwrap_or(row.width)
            .min(row.width);
        let mut right = row;
        right.x += row.width - width;
        right.width = width;
        status.render(right, self.buffer);
        if let Link::Lost { problem, .. } = &state.link {
            let problem = problem.lines().next().unwrap_or_default();
            let problem = printable::line(problem).into_owned();
            self.line([Span::styled(problem, look.colour(Color::Red))]);
        }
    }

    fn queue(&mut self, state: &State, gateway: &GatewayUnits) {
        let all = waiting(gateway);
        let age = i64::try_from(state.age().as_millis()).unwrap_or_default();
        let oldest = gateway.oldest_wait_ms.map(|ms| ms.saturating_add(age));
        let style = match all {
            0 => Style::new(),
            _ => self.look.bold().patch(self.look.colour(Color::Yellow)),
        };
        let mut times = format!(
            "  longest {} · p50 {} · p99 {}",
            seconds(oldest),
            seconds(gateway.wait_p50_ms),
            seconds(gateway.wait_p99_ms)
        );
        if gateway.odd_messages > 0 {
            times += &format!(" · {} odd messages", gateway.odd_messages);
        }
        let refused = match gateway.refusals {
            0 => Span::styled(" · 0 refused", self.look.dim()),
            refusals => Span::styled(
                format!(" · {refusals} refused"),
                self.look.colour(Color::Red),
            ),
        };
        self.line([
            self.name("queue"),
            Span::styled(format!("{all} waiting"), style),
            refused,
            Span::styled(times, self.look.dim()),
        ]);
        if let Some(cluster) = &gateway.cluster {
            let style = match cluster::is_bad(cluster) {
                true => self.look.colour(Color::Red),
                false => self.look.dim(),
            };
            self.line([
                self.name("cluster"),
                Span::styled(cluster::words(cluster), style),
            ]);
        }
        let queued = gateway.queued.clone().unwrap_or_default();
        let classes = [
            ("interactive", queued.interactive, Color::Cyan),
            ("default", queued.default, Color::Green),
            ("batch", queued.batch, Color::Magenta),
        ];
        if self.is_roomy {
            let room = self.left.width.saturating_sub(NAME_COLUMNS + 20);
            let largest = classes.map(|(_, count, _)| number(count));
            let largest = largest.into_iter().max().unwrap_or_default();
            for (class, count, colour) in classes {
                let bar = bar(number(count), largest, room);
                self.line([
                    self.name(""),
                    Span::raw(format!("{class:<12}")),
                    Span::styled(bar, self.look.colour(colour)),
                    Span::raw(format!("{}{count}", if count == 0 { "" } else { " " })),
                ]);
            }
        } else {
            let [a, b, c] = classes.map(|(class, count, _)| format!("{class} {count}"));
            let is_narrow = self.left.width < NARROW_COLUMNS;
            let indent = if is_narrow {
                Span::raw("")
            } else {
                self.name("")
            };
            self.line([indent, Span::raw(format!("{a} · {b} · {c}"))]);
        }
    }

    fn requests(&mut self, running: &[Running<'_>]) {
        // The names of columns are worth less than a request.
        if self.left.height > 4 {
            self.line([Span::styled("    UNITS      FOR  MODEL", self.look.dim())]);
        }
        let rows = usize::from(self.left.height);
        let shown = match running.len() > rows {
            true => rows.saturating_sub(1),
            false => rows,
        };
        for one in running.iter().take(shown) {
            let model = one.request.model.as_deref().unwrap_or("?");
            let room = usize::from(self.left.width).saturating_sub(MODEL_AT);
            let model = columns::shortened(&printable::line(model), room);
            let text = format!(
                " {:>5}  {:>7}  {model}",
                count(one.request.cost),
                one.duration.map_or_else(|| "-".to_owned(), time)
            );
            self.line([
                Span::styled(
                    format!(" {} ", letter(one.mark)),
                    self.look.request(one.mark),
                ),
                Span::raw(text),
            ]);
        }
        match running.len() - running.len().min(shown) {
            0 if running.is_empty() => {
                self.line([Span::styled("    no request runs", self.look.dim())]);
            }
            0 => {}
            more => self.line([Span::styled(
                format!("    and {more} more"),
                self.look.dim(),
            )]),
        }
    }

    fn keys(&mut self, gateway: &GatewayUnits) {
        let head = "  KEY  WEIGHT  UNITS  WAITING  UNIT-SECONDS";
        self.line([Span::styled(head.trim_start_matches("  "), self.look.dim())]);
        let rows = usize::from(self.left.height);
        for key in gateway.keys.iter().take(rows) {
            let is_active = key.in_use > 0 || key.queued > 0;
            let text = format!(
                "{:>3}  {:>6}  {:>5}  {:>7}  {:>12.0}",
                key.key, key.weight, key.in_use, key.queued, key.unit_seconds
            );
            let style = if is_active {
                Style::new()
            } else {
                self.look.dim()
            };
            self.line([Span::styled(text, style)]);
        }
    }
}

/// A bar of at most `room` columns.
fn bar(count: u32, largest: u32, room: u16) -> String {
    let columns = (count * u32::from(room)).div_ceil(largest.max(u32::from(room)));
    "█".repeat(columns as usize)
}

/// A time in at most seven characters.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..1000 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min", seconds / 60),
    }
}
