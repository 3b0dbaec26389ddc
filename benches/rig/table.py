"""Tables of figures: for the terminal, for documents and for other programs."""

import textwrap
from dataclasses import dataclass, field

LINE = 100


@dataclass
class Table:
    """Figures of one measurement. Every row has a value for each column, or None."""

    title: str
    columns: list
    rows: list = field(default_factory=list)

    def add(self, *row):
        self.rows.append(row)

    def texts(self):
        """All cells, without the columns that no row has a value for."""
        rows = [list(self.columns), *([show(value) for value in row] for row in self.rows)]
        return list(zip(*(column for column in zip(*rows) if any(column[1:]))))

    def text(self):
        texts = self.texts()
        widths = [max(map(len, column)) for column in zip(*texts)]
        lines = []
        for row in texts:
            first, *rest = (cell.rjust(width) for cell, width in zip(row, widths))
            lines.append("  ".join([row[0].ljust(len(first)), *rest]))
        return "\n".join([self.title, *lines])

    def markdown(self):
        head, *rows = self.texts()
        ruler = ["---", *["---:"] * (len(head) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
        title = textwrap.fill(self.title, LINE)
        return "\n".join([title, "", lines[0], "|" + "|".join(ruler) + "|", *lines[1:]])

    def json(self):
        rows = [dict(zip(self.columns, row)) for row in self.rows]
        return {"title": self.title, "rows": rows}


def show(value):
    """Three significant digits; whole numbers and texts as they are."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value


def ratio(value, other):
    if value is None or not other:
        return None
    return f"{value / other:.2f}" if value < 100 * other else f"{value / other:.0f}"
