//! The units of the account, as cells by request.

use ratatui_core::{
    layout::Rect,
    style::{Color, Style},
    text::Span,
};

use super::{
    super::{
        plain::{count, limit, units_max, used},
        state::Running,
    },
    NAME_COLUMNS, Page,
};
use crate::proto::v1::{Concurrency, GatewayUnits};

/// The most rows of units, if there are many rows.
const UNIT_ROWS_MAX: u16 = 3;

/// The most cells that are drawn, if there is no limit.
const CELLS_MAX: usize = 4096;

impl Page<'_> {
    /// The units: in numbers, and as cells by request.
    pub(super) fn units(
        &mut self,
        snapshot: &Concurrency,
        gateway: &GatewayUnits,
        running: &[Running<'_>],
    ) {
        let used = format!("{} of {} used", count(used(snapshot)), limit(snapshot));
        let parts = format!(
            "  gateway {} · others {} · cooldown {}",
            gateway.in_use, gateway.outside, gateway.settling
        );
        self.line([
            self.name("units"),
            Span::styled(used, self.look.bold()),
            Span::styled(parts, self.look.dim()),
        ]);
        let cells = cells(snapshot, gateway, running);
        let mut room = self.left;
        room.x += NAME_COLUMNS.min(room.width);
        room.width = room.width.saturating_sub(NAME_COLUMNS);
        let all = u16::try_from(cells.len()).unwrap_or(u16::MAX);
        let rows_of = |width: u16| all.div_ceil((room.width / width).max(1)).max(1);
        // As wide as they fit.
        let rows_max = if self.is_roomy { UNIT_ROWS_MAX } else { 1 };
        let width = (1..=4).rev().find(|width| rows_of(*width) <= rows_max);
        let width = width.unwrap_or(1);
        room.height = self.rows(rows_of(width).min(rows_max)).height;
        let in_row = (room.width / width).max(1);
        let mut cells = cells.iter().peekable();
        for row in 0..room.height {
            for column in 0..in_row {
                let Some(cell) = cells.next() else { return };
                // The cells of one request have no gap between them.
                let goes_on =
                    column + 1 < in_row && cells.peek().is_some_and(|next| next.joins(cell));
                let area = Rect {
                    x: room.x + column * width,
                    y: room.y + row,
                    width: if goes_on || width == 1 {
                        width
                    } else {
                        width - 1
                    },
                    height: 1,
                };
                let (text, style) = self.cell(*cell, area.width);
                self.buffer
                    .set_stringn(area.x, area.y, text, usize::from(area.width), style);
            }
        }
    }

    fn cell(&self, cell: Cell, width: u16) -> (String, Style) {
        let width = usize::from(width);
        let (sign, style) = match cell {
            Cell::Request(mark) => {
                let letter = letter(mark);
                return (format!("{letter:^width$}"), self.look.request(mark));
            }
            Cell::Unlisted => ("▓", self.look.colour(Color::Gray)),
            Cell::Settling => ("▒", self.look.colour(Color::Yellow)),
            Cell::Free => ("░", self.look.dim()),
        };
        (sign.repeat(width), style)
    }
}

/// One unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// Of the request with this mark.
    Request(usize),
    /// In use, by a request that the upstream does not list.
    Unlisted,
    /// Of a cancelled request.
    Settling,
    Free,
}

impl Cell {
    fn joins(self, other: &Self) -> bool {
        matches!(self, Self::Request(_)) && self == *other
    }
}

/// All units, those of requests first.
fn cells(snapshot: &Concurrency, gateway: &GatewayUnits, running: &[Running<'_>]) -> Vec<Cell> {
    let size = |units: i32| usize::try_from(units).unwrap_or_default().min(CELLS_MAX);
    let mut by_mark: Vec<_> = running.iter().collect();
    by_mark.sort_by_key(|one| one.mark);
    let mut cells: Vec<_> = by_mark
        .into_iter()
        .flat_map(|one| {
            let cost = size(one.request.cost.unwrap_or(1));
            std::iter::repeat_n(Cell::Request(one.mark), cost)
        })
        .take(CELLS_MAX)
        .collect();
    // The settling units come after those of requests.
    let used = used(snapshot).unwrap_or_default();
    let busy = size(used.saturating_sub(gateway.settling));
    cells.resize(busy.max(cells.len()), Cell::Unlisted);
    let limit = size(units_max(snapshot).unwrap_or_default());
    let settling = cells.len() + size(gateway.settling);
    cells.resize(settling.min(limit).max(cells.len()), Cell::Settling);
    cells.resize(limit.max(cells.len()), Cell::Free);
    cells
}

/// The letter of a mark.
pub(super) fn letter(mark: usize) -> char {
    let letters = ('a'..='z').chain('A'..='Z');
    letters.clone().nth(mark % letters.count()).unwrap_or('?')
}
