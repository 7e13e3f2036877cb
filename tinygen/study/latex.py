"""Formulas as LaTeX, for amsmath."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .formula import LOOSE, SUM, Formula, Name, Style, depth, write

if TYPE_CHECKING:
    from .explain import Explanation

_SIGNS = {" ": r"\,", " @ ": r" \mathbin{@} ", " <= ": r" \le ", " >= ": r" \ge ", " == ": " = ",
          " != ": r" \ne ", " and ": r" \land ", " or ": r" \lor "}  # fmt: skip
_SPECIAL = {c: "\\" + c for c in "_%&#${}"} | {"\\": r"\backslash ", "^": r"\hat{}", "~": r"\sim "}


class Latex(Style):
    """The forms in LaTeX: a slope has a bar."""

    stacked = True
    cut = r"\cdots"

    def name(self, name: Name) -> str:
        stem, digits = name.text.rstrip("0123456789"), name.text
        if len(stem) == 1 and stem.isalpha():
            digits = name.text[1:]
            out = stem if not digits else f"{stem}_{{{digits}}}"
        else:
            out = rf"\mathrm{{{escaped(digits)}}}"
        bar = r"\bar" if len(stem) == 1 else r"\overline"
        return rf"{bar}{{{out}}}" if name.slope else out

    def number(self, text: str) -> str:
        if text == "inf":
            return r"\infty"
        mantissa, e, power = text.partition("e")
        if e and mantissa.lstrip("-")[:1].isdigit():
            return rf"{mantissa} \cdot 10^{{{int(power)}}}"
        return text if text.lstrip("-")[:1].isdigit() else rf"\mathrm{{{escaped(text)}}}"

    def values(self, shape: tuple[int, ...]) -> str:
        return "[" + r" \times ".join(map(str, shape)) + "]"

    def part(self, of: str, index: int) -> str:
        return f"{{{of}}}_{{[{index}]}}"

    def brackets(self, inner: str) -> str:
        return rf"\left({inner}\right)"

    def infix(self, sign: str, x: str, y: str, digit: bool) -> str:
        dot = r" \cdot " if sign == " " and digit else _SIGNS.get(sign, sign)
        return f"{x}{dot}{y}"

    def fraction(self, x: str, y: str) -> str:
        return rf"\frac{{{x}}}{{{y}}}"

    def power(self, x: str, n: str) -> str:
        return f"{{{x}}}^{{{n}}}"

    def root(self, x: str) -> str:
        return rf"\sqrt{{{x}}}"

    def bars(self, x: str) -> str:
        return rf"\left|{x}\right|"

    def cases(self, condition: str, x: str, y: str) -> str:
        return rf"\begin{{cases}} {x} & {condition} \\ {y} & \text{{else}} \end{{cases}}"

    def turned(self, x: str) -> str:
        return rf"{{{x}}}^{{\top}}"

    def function(self, name: str, args: list[str], options: list[str]) -> str:
        more = [rf"\mathrm{{{escaped(o)}}}" for o in options]
        return rf"\operatorname{{{escaped(name)}}}\left({', '.join([*args, *more])}\right)"


def escaped(text: str) -> str:
    """Text in which LaTeX sees no commands."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def latex(formula: Formula, level: int = LOOSE) -> str:
    """The formula in LaTeX, as deep as its text fits a line."""
    return write(formula, Latex(), depth(formula), level)


def align(e: Explanation) -> str:
    """An align* environment: the way forward, then the slopes; a bar is the slope of the result."""
    from .explain import short
    from .folding import arrivals

    style = Latex()
    rows = []
    for group in e.groups:
        left = ", ".join(style.name(Name(v.name)) for v in group.shown)
        calls = rf"\text{{{escaped(group.label)}: {group.count} calls}}"
        right = calls if group.formula is None else latex(group.formula)
        rows.append(f"{left} &= {right} & &{_value(short(group.shown[-1].value))}")
    for v in e.slopes():
        ways = arrivals(v, e.groups)
        level = SUM if len(ways) > 1 else LOOSE
        for k, way in enumerate(ways):
            written = rf"\text{{{escaped(way.label)}}}"
            if way.formula is not None:
                written = latex(way.formula, level)
            left = style.name(Name(v.name, slope=True)) if not k else ""
            rows.append(f"{left} &{'=' if not k else '+'} {written} & &{_value(short(way.value))}")
        if len(ways) > 1:
            rows.append(f" &= \\text{{{len(ways)} paths}} & &{_value(short(v.slope))}")
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def _value(text: str) -> str:
    """A value, numbers as they are."""
    return rf" \mathtt{{{escaped(text.strip())}}}"
