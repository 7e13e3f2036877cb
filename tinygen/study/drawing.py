"""The graph as SVG: a box for each value, with its formula, its value and its slope."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .folding import Group, used
from .formula import text
from .tape import Variable

if TYPE_CHECKING:
    from .explain import Explanation

WIDE, HIGH, ACROSS, DOWN, EDGE = 176, 62, 46, 22, 12  # of a box, between boxes, around all
CHARACTERS = 22  # of a line in a box
STYLE = (
    ".tg-g text{font:12px ui-monospace,monospace;fill:#1b1f24}.tg-g rect{fill:#f4f6f8;stroke:"
    "#6a737d;stroke-width:1}.tg-g .in rect{fill:#e3effc}.tg-g .out rect{fill:#e4f5e6}"
    ".tg-g .n{font-weight:700}.tg-g .s{fill:#a8321a}.tg-g path{fill:none;stroke:#6a737d}"
    ".tg-g .bad rect{stroke:#c5221f;stroke-width:3}"
    "@media(prefers-color-scheme:dark){.tg-g text{fill:#e6e8ea}.tg-g rect{fill:#24292f}"
    ".tg-g .in rect{fill:#12304f}.tg-g .out rect{fill:#143820}.tg-g .s{fill:#ffa28b}}"
)


class _Box:
    """A place in the drawing: of a value, or where a long line passes a layer (no variable)."""

    def __init__(self, layer: int, variable: Variable | None = None, group: Any = None) -> None:
        self.layer, self.variable, self.group = layer, variable, group
        self.before: list[_Box] = []
        self.y = 0.0

    @property
    def x(self) -> float:
        return float(EDGE + self.layer * (WIDE + ACROSS))


def draw(e: Explanation) -> str:
    """An SVG picture: inputs at the left, the result at the right; red is the slope."""
    boxes = _boxes(e)
    layers = _layers(boxes, e)
    _place(layers)
    everything = [b for layer in layers for b in layer]
    width = 2 * EDGE + len(layers) * (WIDE + ACROSS) - ACROSS
    height = int(2 * EDGE + max(b.y for b in everything) + HIGH)
    lines = [_line(a, b) for b in everything for a in b.before]
    drawn = [_drawn(b, e.y) for b in everything if b.variable is not None]
    label = f"Graph of {e.y.name}: {len(drawn)} values"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tg-g" role="img" aria-label="{label}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{STYLE}</style>'
        f"{''.join(lines)}{''.join(drawn)}</svg>"
    )


def _boxes(e: Explanation) -> dict[int, _Box]:
    """A box for each value that is shown, its layer one after the last of those it is made from."""
    boxes = {id(v): _Box(0, v) for v in e.leaves()}
    for group in e.groups:
        inside = {id(v) for v in group.variables}
        sources = {id(u): boxes[id(u)] for v in group.variables for u in used(v)
                   if id(u) not in inside and id(u) in boxes}  # fmt: skip
        layer = 1 + max((b.layer for b in sources.values()), default=-1)
        for v in group.shown:
            boxes[id(v)] = box = _Box(layer, v, group)
            box.before = list(sources.values())
    for box in boxes.values():
        if not box.before:  # an input, a draw: beside the first that uses it
            users = [b.layer for b in boxes.values() if box in b.before]
            box.layer = max(0, min(users, default=1) - 1)
    return boxes


def _layers(boxes: dict[int, _Box], e: Explanation) -> list[list[_Box]]:
    """The boxes of each layer; lines that pass a layer have a place of their own in it."""
    layers: list[list[_Box]] = [[] for _ in range(1 + max(b.layer for b in boxes.values()))]
    passing: dict[tuple[int, int], _Box] = {}
    for box in boxes.values():
        layers[box.layer].append(box)
        ends = []
        for source in box.before:
            last = source
            for layer in range(source.layer + 1, box.layer):
                key = (id(source), layer)
                if key not in passing:
                    passing[key] = _Box(layer)
                    passing[key].before = [last]
                    layers[layer].append(passing[key])
                last = passing[key]
            ends.append(last)
        box.before = ends
    return layers


def _place(layers: list[list[_Box]]) -> None:
    """Heights: each box near those it is joined with, none above another (a few sweeps)."""
    after: dict[int, list[_Box]] = {}
    for layer in layers:
        for box in layer:
            for source in box.before:
                after.setdefault(id(source), []).append(box)
        _stack(layer, {id(b): k * (HIGH + DOWN) for k, b in enumerate(layer)})
    for sweep in range(8):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            wish = {}
            for box in layer:
                near = box.before if sweep % 2 == 0 else after.get(id(box), [])
                wish[id(box)] = sum(b.y for b in near) / len(near) if near else box.y
            _stack(layer, wish)
    top = min(b.y for layer in layers for b in layer)
    for layer in layers:
        for box in layer:
            box.y += EDGE - top


def _stack(layer: list[_Box], wish: dict[int, float]) -> None:
    """Order a layer by where its boxes wish to be, and keep them apart around the middle."""
    layer.sort(key=lambda b: wish[id(b)])
    y = -1e9
    for box in layer:
        y = box.y = max(y, wish[id(box)])
        y += HIGH + DOWN if box.variable is not None else DOWN
    over = sum(b.y - wish[id(b)] for b in layer) / max(len(layer), 1)
    for box in layer:
        box.y -= over


def _line(a: _Box, b: _Box) -> str:
    x1, x2 = a.x + WIDE, b.x
    y1, y2 = (c.y + (HIGH / 2 if c.variable is not None else 0) for c in (a, b))
    bend = ACROSS / 2
    through = f"H{x2 + WIDE:.0f}" if b.variable is None else ""
    return (
        f'<path d="M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} '
        f'{x2:.0f} {y2:.0f}{through}"/>'
    )


def _drawn(box: _Box, y: Variable) -> str:
    v: Any = box.variable
    group: Group | None = box.group
    head = f"{v.name}"
    if group is not None:
        head += " = " + (text(group.formula) if group.formula is not None else group.label)
    slope = "" if v.slope is None else f"slope {_short(v.slope).rpartition(': ')[2]}"
    kind = "out" if v is y else "in" if v.leaf else "mid"
    bad = " bad" if v.verdict == "DISAGREES" else ""
    rows = ((head, "n", 18), (_short(v.value), "v", 35), (slope, "s", 52))
    words = "".join(
        f'<text class="{css}" x="{box.x + 8:.0f}" y="{box.y + dy:.0f}">{escape(_cut(row))}</text>'
        for row, css, dy in rows
        if row
    )
    return (
        f'<g class="{kind}{bad}" data-v="{escape(v.name)}"><title>{escape(head)}</title>'
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{WIDE}" height="{HIGH}" rx="6"/>{words}</g>'
    )


def _short(values: Any) -> str:
    """A number; of an array its shape and its range."""
    if values is None:
        return ""
    values = np.asarray(values)
    if values.size == 1:
        return f"{values.item():.5g}"
    if not values.size:
        return str(values.shape)
    shape = "x".join(map(str, values.shape))
    return f"{shape}: {values.min():.3g} .. {values.max():.3g}"


def _cut(words: str) -> str:
    return words if len(words) <= CHARACTERS else f"{words[: CHARACTERS - 3]}..."
