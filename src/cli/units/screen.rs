//! The terminal as a full screen. It is given back however the command ends.

use std::{
    io::{self, IsTerminal, Write},
    panic,
};

use crossterm::{
    cursor, execute, queue,
    style::{
        Attribute, Color as TerminalColor, Print, SetAttribute, SetBackgroundColor,
        SetForegroundColor,
    },
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
};
use ratatui_core::{
    backend::{Backend, ClearType, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
    style::{Color, Modifier},
    terminal::Terminal,
};
use terminal_size::{Height, Width};

use super::{
    state::State,
    view::{self, Look},
};
use crate::config;

/// The size of a terminal that does not tell it.
const SIZE_UNKNOWN: Size = Size::new(80, 24);

/// The full screen. Dropping it gives the terminal back.
pub(super) struct Screen {
    terminal: Terminal<Ansi>,
    look: Look,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be written or changed.
    pub(super) fn enter() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // The sentence about the panic would be lost with the screen.
            give_back();
            before(panic);
        }));
        let terminal = Terminal::new(Ansi::default())?;
        let look = Look {
            has_colours: config::allows_colours(),
        };
        // From here on, dropping the value undoes it.
        let screen = Self { terminal, look };
        if io::stdin().is_terminal() {
            terminal::enable_raw_mode()?;
        }
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws the state.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(super) fn draw(&mut self, state: &State) -> io::Result<()> {
        let look = self.look;
        self.terminal.draw(|frame| {
            let area = frame.area();
            view::draw(state, look, area, frame.buffer_mut());
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Brings the terminal back to what it was. What cannot be done is left out.
fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// Writes cells as ANSI sequences. `ratatui-crossterm` does the same with twice as many packages.
#[derive(Debug, Default)]
struct Ansi {
    /// What is not written yet. A picture is one write, so that it does not flicker.
    pending: Vec<u8>,
}

impl Backend for Ansi {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let out = &mut self.pending;
        let mut next = None;
        let mut style = (Color::Reset, Color::Reset, Modifier::empty());
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                queue!(out, cursor::MoveTo(x, y))?;
            }
            next = Some((x.saturating_add(1), y));
            if style != (cell.fg, cell.bg, cell.modifier) {
                style = (cell.fg, cell.bg, cell.modifier);
                queue!(out, SetAttribute(Attribute::Reset))?;
                for (modifier, attribute) in [
                    (Modifier::BOLD, Attribute::Bold),
                    (Modifier::DIM, Attribute::Dim),
                    (Modifier::REVERSED, Attribute::Reverse),
                ] {
                    if cell.modifier.contains(modifier) {
                        queue!(out, SetAttribute(attribute))?;
                    }
                }
                if cell.fg != Color::Reset {
                    queue!(out, SetForegroundColor(colour(cell.fg)))?;
                }
                if cell.bg != Color::Reset {
                    queue!(out, SetBackgroundColor(colour(cell.bg)))?;
                }
            }
            queue!(out, Print(cell.symbol()))?;
        }
        queue!(out, SetAttribute(Attribute::Reset))
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        queue!(self.pending, cursor::Hide)
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        queue!(self.pending, cursor::Show)
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        // Only screens below other text ask for it.
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        queue!(self.pending, cursor::MoveTo(x, y))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        let region = match region {
            ClearType::All => terminal::ClearType::All,
            ClearType::AfterCursor => terminal::ClearType::FromCursorDown,
            ClearType::BeforeCursor => terminal::ClearType::FromCursorUp,
            ClearType::CurrentLine => terminal::ClearType::CurrentLine,
            ClearType::UntilNewLine => terminal::ClearType::UntilNewLine,
        };
        queue!(self.pending, terminal::Clear(region))
    }

    fn size(&self) -> io::Result<Size> {
        let size = terminal_size::terminal_size_of(io::stdout());
        Ok(size.map_or(SIZE_UNKNOWN, |(Width(width), Height(height))| {
            Size::new(width, height)
        }))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(&self.pending)?;
        self.pending.clear();
        out.flush()
    }
}

/// The colours that the view uses. A terminal shows them as its user has set them.
fn colour(colour: Color) -> TerminalColor {
    match colour {
        Color::Black => TerminalColor::Black,
        Color::Red => TerminalColor::DarkRed,
        Color::Green => TerminalColor::DarkGreen,
        Color::Yellow => TerminalColor::DarkYellow,
        Color::Blue => TerminalColor::DarkBlue,
        Color::Magenta => TerminalColor::DarkMagenta,
        Color::Cyan => TerminalColor::DarkCyan,
        Color::Gray => TerminalColor::Grey,
        Color::DarkGray => TerminalColor::DarkGrey,
        Color::LightRed => TerminalColor::Red,
        Color::LightGreen => TerminalColor::Green,
        Color::LightYellow => TerminalColor::Yellow,
        Color::LightBlue => TerminalColor::Blue,
        Color::LightMagenta => TerminalColor::Magenta,
        Color::LightCyan => TerminalColor::Cyan,
        Color::White => TerminalColor::White,
        Color::Indexed(index) => TerminalColor::AnsiValue(index),
        Color::Rgb(r, g, b) => TerminalColor::Rgb { r, g, b },
        Color::Reset => TerminalColor::Reset,
    }
}
