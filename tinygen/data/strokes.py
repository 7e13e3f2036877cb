"""Handwritten-looking digits, drawn from pen strokes: the built-in data, no download.

A digit is a few strokes through control points.  Each image takes one of the forms in which people
write its digit, blends the two drawings of that form, jitters the points, bends and shears the
whole, sets a pen of some thickness and pressure, and shades every pixel by its distance from the
stroke.

The same numbers everywhere: each attribute is a draw of shape (n, k) from its own stream, so row i
does not depend on n; after the draws only + - * / sqrt, minimum, maximum and rounding are used
(sine and cosine are polynomials here), which IEEE 754 defines to the last bit, and no sum whose
order a library chooses.  STROKES_VERSION changes whenever a pixel does.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..random import Generator
from .letterforms import LETTERFORMS

__all__ = ["DIGIT_WORDS", "INKS", "PAPERS", "STROKES_VERSION", "strokes"]

STROKES_VERSION = 1

Floats = NDArray[np.float64]

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INKS = {
    "red": (204, 36, 36),
    "orange": (240, 140, 20),
    "yellow": (246, 222, 60),
    "green": (34, 139, 52),
    "blue": (40, 76, 200),
    "purple": (122, 44, 160),
    "pink": (246, 130, 176),
    "brown": (116, 68, 32),
    "black": (22, 22, 26),
    "white": (250, 250, 250),
}
PAPERS = {
    "black": (16, 16, 20),
    "navy": (22, 30, 88),
    "grey": (128, 128, 132),
    "cream": (248, 240, 214),
    "white": (250, 250, 250),
    "mint": (196, 236, 212),
}
CONTRAST = 80  # least difference of luma, in grey levels, between ink and paper
THIN, THICK = 2.1, 3.3  # px: below is "thin", above is "thick"
SMALL, LARGE = 0.9, 1.09  # of scale: below is "small", above is "large"
LEANING = 14.0  # degrees of slant from which a digit is "slanted", or "backward" below its negative
CHUNK = 64  # images shaded at once: three buffers of 28 x 28 x 64 float32 stay in the L2 cache
EDGE = 1.3  # px over which the border of a stroke fades, at size 28


def strokes(
    n: int = 10_000,
    seed: int = 0,
    size: int = 28,
    colour: bool = False,
    split: str = "train",
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Draw n handwritten-looking digits: (images, table), the same for the same seed and version.

    images: uint8 (n, size, size, 1), white ink on black paper, or (n, size, size, 3) with `colour`.
    split: "train" or "test", two streams that share no draw.  Image i does not depend on n.

    table, arrays of length n:
        digit      int64 0..9
        form       int64, the letterform of that digit, from 0
        slant      float32, degrees of shear, positive leaning right, -28..42
        rotation   float32, degrees, positive clockwise, -18..18
        scale      float32, height of the upright digit / 19.5 px (at size 28), 0.6..1.15
        thickness  float32, px of full pen width at size 28, 1.5..4.2
        caption    text: a|an ["thin"|"thick"] ["small"|"large"] ["slanted"|"backward"] [ink] digit
                   ["on" paper "paper"], e.g. "a thick slanted seven"
    and with colour, uint8 (n, 3) red, green, blue: ink, paper; the words of INKS and PAPERS.

    Raises ValueError for n < 1, a size under 8, an unknown split.
    """
    if n < 1 or size < 8 or split not in ("train", "test"):
        raise ValueError(
            f"strokes: n={n}, size={size}, split={split!r}; "
            "expected n >= 1, size >= 8, split 'train' or 'test'"
        )
    root = Generator(seed).stream(f"strokes {split}", STROKES_VERSION)
    table: dict[str, NDArray[Any]] = {}
    table["digit"] = root.stream("digit").integers(10, (n,)).numpy().astype(np.int64)
    pick = _uniform(root, "form", (n, 2))  # form, blend of its two drawings
    first, glyph = _choose_forms(table["digit"], pick[:, 0])
    table["form"] = glyph - first
    pose = _pose(root, n)
    jitter = _normal(root, "points", (n, MOST_POINTS, 2))
    pressure = _normal(root, "pressure", (n, MOST_STROKES, 3))

    grey = np.empty((n, size, size), np.uint8)
    for index, form in enumerate(_glyphs()):
        rows = np.flatnonzero(glyph == index)  # images are independent: grouping changes nothing
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            mine = {name: values[part] for name, values in pose.items()}
            path = _path(form, pick[part, 1], jitter[part], mine)
            pen = _pen(form, pressure[part])
            grey[part] = _shade(path, pen, form.drawn, mine["thickness"], size)
            pose["scale"][part] = mine["scale"]
    for name in ("slant", "rotation", "scale", "thickness"):
        table[name] = pose[name].astype(np.float32)
    if not colour:
        table["caption"] = _captions(table, None)
        return grey[..., None], table
    names, table["ink"], table["paper"] = _colours(root, n)
    table["caption"] = _captions(table, names)
    return _paint(grey, table["ink"], table["paper"]), table


@dataclass(frozen=True)
class Glyph:
    """A letterform ready to draw.  P control points, S + 1 path points, K strokes of the pen."""

    drawings: tuple[Floats, Floats]  # (P, 2) each
    sources: NDArray[np.int64]  # (S + 1, 4): the control points behind a path point ...
    weights: Floats  # (S + 1, 4): ... and their Catmull-Rom weights
    drawn: NDArray[np.bool_]  # (S,): False where the pen is lifted between two path points
    stroke: NDArray[np.int64]  # (S + 1,): number of the pen stroke
    along: Floats  # (S + 1,): position along that stroke, 0..1


def _glyph(first: str, second: str) -> Glyph:
    """Parse the two drawings of a letterform and lay the path through their points."""
    drawings = tuple(
        np.array([[float(v) for v in token.split(",")] for token in text.split() if len(token) > 1])
        for text in (first, second)
    )
    points = drawings[0]
    runs: list[tuple[int, list[int]]] = [(0, [])]  # (stroke, control points between corners)
    count = 0
    for token in first.split():
        if token == "/":
            runs.append((runs[-1][0], [count - 1]))
        elif token == "|":
            runs.append((runs[-1][0] + 1, []))
        else:
            runs[-1][1].append(count)
            count += 1
    sources: list[list[int]] = []
    weights: list[list[float]] = []
    stroke: list[int] = []
    for number, run in runs:
        corner = bool(stroke) and stroke[-1] == number  # its first point is on the path already
        for k in range(len(run) - 1):
            span = points[run[k + 1]] - points[run[k]]
            steps = max(2, round(math.sqrt(span[0] * span[0] + span[1] * span[1]) / 8.5))
            for step in range(0 if k == 0 and not corner else 1, steps + 1):
                near, factor = _catmull_rom(run, k, step / steps)
                sources.append(near)
                weights.append(factor)
                stroke.append(number)
    strokes_ = np.array(stroke)
    along = np.zeros(len(stroke))
    for number in range(strokes_.max() + 1):
        rows = np.flatnonzero(strokes_ == number)
        along[rows] = np.arange(len(rows)) / (len(rows) - 1)
    return Glyph(
        drawings=(drawings[0], drawings[1]),
        sources=np.array(sources),
        weights=np.array(weights),
        drawn=strokes_[1:] == strokes_[:-1],
        stroke=strokes_,
        along=along,
    )


def _catmull_rom(run: list[int], k: int, t: float) -> tuple[list[int], list[float]]:
    """Four control points and their weights for the curve between points k and k + 1 of a run.

    p(t) = [1 t t2 t3] of the uniform Catmull-Rom spline; the point before the first one is its
    linear extrapolation 2 p0 - p1, and likewise at the end, so that strokes leave straight.
    """
    a = (-t + 2 * t * t - t * t * t) / 2
    b = (2 - 5 * t * t + 3 * t * t * t) / 2
    c = (t + 4 * t * t - 3 * t * t * t) / 2
    d = (t * t * t - t * t) / 2
    before, after = run[max(k - 1, 0)], run[min(k + 2, len(run) - 1)]
    if k == 0:
        before, a, b, c = run[0], 0.0, b + 2 * a, c - a
    if k + 2 == len(run):
        after, d, c, b = run[-1], 0.0, c + 2 * d, b - d
    return [before, run[k], run[k + 1], after], [a, b, c, d]


@functools.cache
def _glyphs() -> list[Glyph]:
    """Every letterform, made at first use: importing stays quick."""
    return [_glyph(first, second) for forms in LETTERFORMS.values() for _, first, second in forms]


MOST_POINTS = 16  # room in the draws; part of the version
MOST_STROKES = 3


def _choose_forms(
    digit: NDArray[np.int64], draw: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each digit the number of its first glyph and of the glyph taken, by shares."""
    first = np.zeros(len(digit), np.int64)
    taken = np.zeros(len(digit), np.int64)
    base = 0
    for value, forms in LETTERFORMS.items():
        rows = digit == value
        shares = [share for share, _, _ in forms]
        first[rows] = taken[rows] = base
        passed = 0.0
        for share in shares[:-1]:
            passed += share
            taken[rows] += draw[rows] * sum(shares) >= passed
        base += len(forms)
    return first, taken


def _uniform(root: Generator, name: str, shape: tuple[int, ...]) -> Floats:
    return np.asarray(root.stream(name).uniform(shape).numpy(), np.float64)


def _normal(root: Generator, name: str, shape: tuple[int, ...]) -> Floats:
    """Standard normals cut at 2.5: no digit is torn apart by one wild draw."""
    return np.asarray(root.stream(name).normal(shape).numpy(), np.float64).clip(-2.5, 2.5)


def _pose(root: Generator, n: int) -> dict[str, Floats]:
    """How each digit is written, an array (n,) by name."""
    z = _normal(root, "pose", (n, 12)).T
    thin = z[3] * (1 + 0.15 * z[3])  # a few heavy pens, many light ones
    return {
        "slant": (7 + 13 * z[0]).clip(-28, 42),  # degrees
        "rotation": (5.5 * z[1]).clip(-18, 18),  # degrees
        "scale": (1.0 + 0.085 * z[2]).clip(0.75, 1.15),
        "thickness": (2.55 + 0.62 * thin).clip(1.5, 4.2),  # px at size 28
        "aspect": (1.02 + 0.16 * z[4]).clip(0.72, 1.4),  # width by height
        "right": 0.75 * z[5],  # px at size 28, of the centre
        "down": 0.75 * z[6],
        "bow": 4.5 * z[7],  # grid units: a stem bent like a bracket
        "taper": 0.12 * z[8],  # wider at the foot than at the head
        "belly": 0.14 * z[9],  # the upper half larger than the lower
        "rise": 0.08 * z[10],  # horizontals climbing to the right
        "mess": (2.45 + 0.7 * z[11]).clip(0.9, 4.0),  # grid units of jitter
    }


def _path(glyph: Glyph, blend: Floats, jitter: Floats, pose: dict[str, Floats]) -> Floats:
    """(C, S + 1, 2): points of the pen's path in px of a 28 px image, from its centre.

    Shrinks pose["scale"] where a digit would leave the image.
    """
    one, other = glyph.drawings
    points = one + blend[:, None, None] * (other - one)  # (C, P, 2)
    points = points + pose["mess"][:, None, None] * jitter[:, : len(one)]
    path = np.zeros((len(blend), len(glyph.weights), 2))
    for k in range(4):
        path += glyph.weights[:, k, None] * points[:, glyph.sources[:, k]]
    x, y = (path[..., 0] - 32) / 50, (path[..., 1] - 50) / 50  # y in -1..1
    p = {name: values[:, None] for name, values in pose.items()}
    x, y = (
        (x * (1 + p["taper"] * y) + p["bow"] / 50 * (1 - y * y)) * p["aspect"],
        y + p["belly"] * (1 - y * y) - p["rise"] * x,
    )
    sine, cosine = _sin_cos(p["slant"])
    x = x - y * sine / cosine  # leaning right: the head moves right
    sine, cosine = _sin_cos(p["rotation"])
    x, y = cosine * x - sine * y, sine * x + cosine * y
    centre_x, half_x = _middle(x)
    centre_y, half_y = _middle(y)
    room = 12.5 - 0.65 * p["thickness"]  # for the heaviest pressure and the fading border
    scale = np.minimum(p["scale"] * 9.75, room / np.maximum(half_x, half_y))
    pose["scale"] = scale[:, 0] / 9.75
    slack_x, slack_y = room - scale * half_x, room - scale * half_y
    x = scale * (x - centre_x) + np.minimum(np.maximum(p["right"], -slack_x), slack_x)
    y = scale * (y - centre_y) + np.minimum(np.maximum(p["down"], -slack_y), slack_y)
    return np.stack([x, y], axis=-1)


def _middle(values: Floats) -> tuple[Floats, Floats]:
    """Centre and half the extent of each row, (C, 1)."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return (low + high) / 2, (high - low) / 2


def _pen(glyph: Glyph, pressure: Floats) -> Floats:
    """(C, S): pen width along the path, relative; a parabola through three values a stroke."""
    start, middle, end = (pressure[:, glyph.stroke, k] for k in range(3))
    t = glyph.along
    curve = start * (1 - t) * (1 - 2 * t) + middle * 4 * t * (1 - t) + end * t * (2 * t - 1)
    width = (1 + 0.11 * curve).clip(0.72, 1.3)
    return np.asarray((width[:, 1:] + width[:, :-1]) / 2)


def _sin_cos(degrees: Floats) -> tuple[Floats, Floats]:
    """Sine and cosine up to 45 degrees by their Taylor series, to 1e-12; no libm, so no flips."""
    a = degrees * 0.017453292519943295
    q = a * a
    sine = a * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72 * (1 - q / 110)))))
    cosine = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56 * (1 - q / 90 * (1 - q / 132)))))
    return sine, cosine


def _shade(
    path: Floats, pen: Floats, drawn: NDArray[np.bool_], thickness: Floats, size: int
) -> NDArray[np.uint8]:
    """(C, size, size) grey levels: 255 inside the stroke, fading over EDGE px at its border.

    In units of the local pen radius, a pixel is q = distance / radius from the path.  With u along
    a segment of length L and v across it, q^2 = (u - clip(u, 0, L))^2 + v^2, the least over all
    segments.
    """
    unit = size / 28
    radius = thickness / 2 * unit  # (C,)
    # (S, C) from here on: the images lie last, so that every inner loop is long
    ends = np.ascontiguousarray(path.transpose(2, 1, 0)) * unit + size / 2
    x, y = ends[0], ends[1]
    local = 1 / (pen.T * radius)
    dx, dy = x[1:] - x[:-1], y[1:] - y[:-1]
    length = np.maximum(np.sqrt(dx * dx + dy * dy), 1e-6)
    dx, dy = dx / length, dy / length
    pixels = np.arange(size)[:, None] + 0.5
    limit = (length * local).astype(np.float32)
    count = path.shape[0]
    best = np.full((size, size, count), 1e6, np.float32)
    u, v = np.empty_like(best), np.empty_like(best)
    for s in np.flatnonzero(drawn):
        right = (pixels - x[s]) * local[s]  # (size, C)
        down = (pixels - y[s]) * local[s]
        np.add(
            (right * dx[s]).astype(np.float32)[None],
            (down * dy[s]).astype(np.float32)[:, None],
            out=u,
        )
        np.maximum(u, 0, out=v)
        np.minimum(v, limit[s], out=v)
        np.subtract(u, v, out=u)
        np.multiply(u, u, out=u)
        np.add(
            (right * -dy[s]).astype(np.float32)[None],
            (down * dx[s]).astype(np.float32)[:, None],
            out=v,
        )
        np.multiply(v, v, out=v)
        np.add(u, v, out=u)
        np.minimum(best, u, out=best)
    np.sqrt(best, out=best)
    # ink = 1/2 + (radius - distance) / EDGE, held to 0..1
    slope = (radius / (EDGE * unit)).astype(np.float32)
    np.subtract(np.float32(1), best, out=best)
    np.multiply(best, slope, out=best)
    np.add(best, np.float32(0.5), out=best)
    np.clip(best, 0, 1, out=best)
    np.multiply(best, np.float32(255), out=best)
    return np.rint(best, out=best).astype(np.uint8).transpose(2, 0, 1)


def _colours(
    root: Generator, n: int
) -> tuple[list[tuple[str, str]], NDArray[np.uint8], NDArray[np.uint8]]:
    """Names and shades of ink and paper: every pair of INKS and PAPERS with enough contrast."""
    pairs = [
        (ink, paper)
        for ink, a in INKS.items()
        for paper, b in PAPERS.items()
        if abs(_luma(a) - _luma(b)) >= CONTRAST
    ]
    taken = root.stream("pair").integers(len(pairs), (n,)).numpy()
    names = [pairs[k] for k in taken]
    shift = np.rint(_normal(root, "shade", (n, 2, 3)) * 6).astype(np.int64)
    inks = np.array([INKS[ink] for ink, _ in pairs])[taken] + shift[:, 0]
    papers = np.array([PAPERS[paper] for _, paper in pairs])[taken] + shift[:, 1]
    return names, inks.clip(0, 255).astype(np.uint8), papers.clip(0, 255).astype(np.uint8)


def _luma(rgb: tuple[int, int, int]) -> int:
    return (299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2]) // 1000


def _paint(
    grey: NDArray[np.uint8], ink: NDArray[np.uint8], paper: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """(n, size, size, 3): paper + (ink - paper) * grey / 255, rounded, in integers."""
    images = np.empty((*grey.shape, 3), np.uint8)
    for start in range(0, len(grey), 256):
        part = slice(start, start + 256)
        a = ink[part, None, None].astype(np.int32)
        b = paper[part, None, None].astype(np.int32)
        g = grey[part, ..., None].astype(np.int32)
        images[part] = (a * g + b * (255 - g) + 127) // 255
    return images


def _captions(
    table: dict[str, NDArray[Any]], colours: list[tuple[str, str]] | None
) -> NDArray[np.str_]:
    """One caption an image, in the grammar of `strokes`."""
    captions = []
    for i in range(len(table["digit"])):
        thickness, scale, slant = table["thickness"][i], table["scale"][i], table["slant"][i]
        words = []
        if thickness < THIN or thickness > THICK:
            words.append("thin" if thickness < THIN else "thick")
        if scale < SMALL or scale > LARGE:
            words.append("small" if scale < SMALL else "large")
        if abs(slant) >= LEANING:
            words.append("slanted" if slant > 0 else "backward")
        if colours is not None:
            words.append(colours[i][0])
        words.append(DIGIT_WORDS[table["digit"][i]])
        if colours is not None:
            words += ["on", colours[i][1], "paper"]
        captions.append(("an " if words[0][0] in "aeio" else "a ") + " ".join(words))
    return np.array(captions)
