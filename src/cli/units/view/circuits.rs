//! The models that fail.

use ratatui_core::{
    style::{Color, Style},
    text::Span,
};

use super::{
    super::{
        super::{columns, printable},
        circuits::{outlook, reason},
        state::State,
    },
    NAME_COLUMNS, NARROW_COLUMNS, Page,
};
use crate::proto::v1::{CircuitState, GatewayUnits};

/// The rows of circuits, and a row that says how many more there are.
const ROWS_MAX: u16 = 5;

/// This many rows are left for requests and keys.
const ROWS_LEFT_MIN: u16 = 3;

/// The columns of a model that are worth more than the error.
const MODEL_COLUMNS_MIN: usize = 16;

impl Page<'_> {
    /// The models that fail. Without one, this takes no row.
    pub(super) fn circuits(&mut self, state: &State, gateway: &GatewayUnits) {
        let circuits = &gateway.circuits;
        let wanted = u16::try_from(circuits.len()).unwrap_or(u16::MAX);
        let room = self.left.height.saturating_sub(ROWS_LEFT_MIN);
        let rows = wanted.min(ROWS_MAX).min(room);
        if rows == 0 {
            return;
        }
        let shown = match wanted > rows {
            // The only row tells of a model, and how many more there are.
            true if rows > 1 => rows - 1,
            _ => rows,
        };
        let more = wanted - shown;
        let more = |is_own_row: bool| match more {
            0 => None,
            more if is_own_row => Some(format!("and {more} more")),
            more => Some(format!(" +{more}")),
        };
        let indent = match self.left.width < NARROW_COLUMNS {
            true => 0,
            false => usize::from(NAME_COLUMNS),
        };
        for (row, circuit) in circuits.iter().take(shown.into()).enumerate() {
            let name = match (row, indent) {
                (_, 0) => Span::raw(""),
                (0, _) => self.name("failing"),
                _ => self.name(""),
            };
            let model = printable::line(&circuit.model).into_owned();
            let reason = format!("  {}", printable::line(&reason(circuit)));
            let mut outlook = format!("  {}", outlook(circuit, state.age()));
            if let Some(more) = more(false).filter(|_| rows == 1) {
                outlook += &more;
            }
            let width = |text: &str| Span::raw(text).width();
            let room = usize::from(self.left.width).saturating_sub(indent + width(&outlook));
            let room_with_reason = room.saturating_sub(width(&reason));
            let (room, reason) = match room_with_reason >= MODEL_COLUMNS_MIN.min(width(&model)) {
                true => (room_with_reason, reason),
                false => (room, String::new()),
            };
            let style = match circuit.state() {
                CircuitState::Open => self.look.colour(Color::Red),
                CircuitState::HalfOpen => self.look.colour(Color::Yellow),
                CircuitState::Closed | CircuitState::Unspecified => Style::new(),
            };
            self.line([
                name,
                Span::styled(columns::shortened(&model, room), style),
                Span::styled(reason, self.look.dim()),
                Span::styled(outlook, style),
            ]);
        }
        if let Some(more) = more(true).filter(|_| rows > 1) {
            self.line([
                Span::raw(" ".repeat(indent)),
                Span::styled(more, self.look.dim()),
            ]);
        }
        self.gap();
    }
}
