"""Records `featherwire units` in a terminal of its own, and draws the last seconds as an SVG.

    terminal.py ADDRESS FILE.svg

The drawing shows one picture after another where SVG moves, and the last one where it does not. It has its own
dark ground, which suits light and dark pages.
"""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from html import escape
from pathlib import Path

import pyte
from pyte.graphics import FG_BG_256

COLUMNS, ROWS = 100, 28
# The charts have a column for each second.
SECONDS = 96
FRAMES = 8
FRAME_SECONDS = 1.0

# The pixels of a cell, and around all.
WIDTH, HEIGHT, MARGIN, BAR = 8, 18, 18, 34

GROUND, INK, FAINT = "#141a21", "#dbe3ec", "#8593a4"
# The sixteen colours of a terminal, which the program chooses by number and `pyte` gives as these of its own.
COLOURS = dict(
    zip(
        FG_BG_256,
        ["#10151b", "#ef8a80", "#6fd0a2", "#e6c06a", "#7aa7e8", "#c99be0", "#63bdd2", "#c3ccd6"]
        + ["#5b6878", "#f2a196", "#8fdcb6", "#f0d48a", "#8ab8ee", "#d7b5ea", "#86d0e0", "#f2f5f8"],
    )
)
# Signs that fill a cell or a part of it: (left, top, width, height, opacity). As text, they would leave gaps.
BLOCKS = {
    **{chr(0x2580 + n): (0, 1 - n / 8, 1, n / 8, 1) for n in range(1, 9)},
    "░": (0, 0.06, 1, 0.88, 0.22),
    "▒": (0, 0.06, 1, 0.88, 0.5),
    "▓": (0, 0.06, 1, 0.88, 0.75),
}


class Screen(pyte.Screen):
    """`pyte` does not know faint text. The program has no italic text, whose place it takes."""

    def select_graphic_rendition(self, *attributes, **more):
        # Not in `38;5;2`, which is a colour.
        faint = [3 if attribute == 2 else attribute for attribute in attributes]
        is_colour = attributes[:1] in [(38,), (48,)]
        super().select_graphic_rendition(*(attributes if is_colour else faint), **more)


def record(address):
    """The pictures of the last seconds, oldest first: rows of cells."""
    program = os.environ["FEATHERWIRE_BIN"]
    child, terminal = pty.fork()
    if child == 0:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FEATHERWIRE_")}
        kept |= {"TERM": "xterm-256color", "FEATHERWIRE_API_KEY": os.environ["UNITS_KEY"]}
        os.execve(program, [program, "units", "--gateway", address], kept)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    decoder = codecs.getincrementaldecoder("utf-8")()
    frames = []
    begin = time.monotonic()
    due = [begin + SECONDS - FRAME_SECONDS * n for n in reversed(range(FRAMES))]
    while due:
        ready, _, _ = select.select([terminal], [], [], max(0, due[0] - time.monotonic()))
        if ready:
            stream.feed(decoder.decode(os.read(terminal, 65536)))
        else:
            due.pop(0)
            frames.append([[screen.buffer[row][column] for column in range(COLUMNS)] for row in range(ROWS)])
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    return frames


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def runs(cells):
    """(column, cell, text) of each run of cells that look alike, and are text or the same block."""
    found = []
    for column, cell in enumerate(cells):
        kind = (cell.fg, cell.bg, cell.bold, cell.italics, cell.data if cell.data in BLOCKS else "")
        if found and found[-1][3] == kind:
            found[-1][2].append(cell.data)
        else:
            found.append([column, cell, [cell.data], kind])
    return [(column, cell, "".join(text)) for column, cell, text, _ in found]


def draw_row(row, cells):
    """The shapes and words of a row."""
    shapes = []
    top = BAR + row * HEIGHT
    for column, cell, text in runs(cells):
        left = MARGIN + column * WIDTH
        if cell.bg != "default":
            shapes.append(
                f'<rect x="{number(left)}" y="{top + 1}" width="{number(len(text) * WIDTH)}" '
                f'height="{HEIGHT - 2}" rx="2" fill="{COLOURS[cell.bg]}"/>'
            )
        bold = ' font-weight="bold"' if cell.bold else ""
        colour = FAINT if cell.italics else COLOURS.get(cell.fg, INK)
        if block := BLOCKS.get(text[0]):
            x, y, width, height, opacity = block
            shade = f' opacity="{opacity}"' if opacity < 1 else ""
            shapes.append(
                f'<rect x="{number(left + x * WIDTH)}" y="{number(top + y * HEIGHT)}" '
                f'width="{number(len(text) * width * WIDTH)}" height="{number(height * HEIGHT)}" '
                f'fill="{colour}"{shade}/>'
            )
            continue
        # Words apart, so that they stand in their columns in any font.
        for word in re.finditer(r"\S+(?: \S+)*", text):
            x = left + word.start() * WIDTH
            shapes.append(
                f'<text x="{number(x)}" y="{number(top + 0.72 * HEIGHT)}" '
                f'textLength="{number(len(word[0]) * WIDTH)}" fill="{colour}"'
                f'{bold}>{escape(word[0])}</text>'
            )
    return "".join(shapes)


def draw(frames):
    width = 2 * MARGIN + COLUMNS * WIDTH
    height = BAR + ROWS * HEIGHT + MARGIN / 2
    drawn = [[draw_row(row, cells) for row, cells in enumerate(frame)] for frame in frames]
    still, moving = [], [[] for _ in frames]
    for row in range(ROWS):
        versions = [frame[row] for frame in drawn]
        if len(set(versions)) == 1:
            still.append(versions[0])
        else:
            for rows, version in zip(moving, versions):
                rows.append(version)
    total = FRAMES * FRAME_SECONDS
    share = 100 / FRAMES
    style = (
        'rect{shape-rendering:crispEdges}text{font:13.3px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}'
        ".f{visibility:hidden}.f:last-of-type{visibility:visible}"
        "@media(prefers-reduced-motion:no-preference){"
        f"@keyframes f{{0%{{visibility:visible}}{number(share)}%,to{{visibility:hidden}}}}"
        f".f,.f:last-of-type{{visibility:hidden;animation:f {number(total)}s step-end infinite}}"
        + "".join(
            f".f:nth-of-type({n + 1}){{animation-delay:{number(n * FRAME_SECONDS)}s}}" for n in range(FRAMES)
        )
        + "}"
    )
    dots = "".join(f'<circle cx="{MARGIN + 2 + 18 * n}" cy="17" r="5" fill="#2f3a46"/>' for n in range(3))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" role="img">'
        "<title>featherwire units in a terminal, while requests run and wait</title>"
        f"<style>{style}</style>"
        f'<rect width="100%" height="100%" rx="10" style="shape-rendering:auto" fill="{GROUND}"/>{dots}'
        f"{''.join(still)}\n" + "\n".join(f'<g class="f">{"".join(rows)}</g>' for rows in moving) + "\n</svg>\n"
    )


def main():
    address, file = sys.argv[1:]
    Path(file).write_text(draw(record(address)))


main()
