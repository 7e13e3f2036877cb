"""Formulas as MathML, which browsers draw by themselves."""

from __future__ import annotations

from html import escape

from .formula import LOOSE, Formula, Name, Style, depth, write

_SIGNS = {" + ": "+", " - ": "&#8722;", " ": "&#8290;", " @ ": "@", " < ": "&lt;",
          " <= ": "&#8804;", " > ": "&gt;", " >= ": "&#8805;", " == ": "=", " != ": "&#8800;",
          " and ": "&#8743;", " or ": "&#8744;"}  # fmt: skip


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _sign(text: str) -> str:
    return f"<mo>{text}</mo>"


class MathML(Style):
    """The forms in MathML: a slope has a bar."""

    stacked = True
    cut = "<mo>&#8230;</mo>"

    def name(self, name: Name) -> str:
        stem = name.text.rstrip("0123456789")
        digits = name.text[len(stem) :]
        if len(stem) == 1 and digits:
            out = f"<msub><mi>{escape(stem)}</mi><mn>{digits}</mn></msub>"
        else:
            out = f"<mi>{escape(name.text)}</mi>"
        return (
            f'<mover accent="true">{out}<mo stretchy="true">&#175;</mo></mover>'
            if name.slope
            else out
        )

    def number(self, text: str) -> str:
        if text == "inf":
            return "<mi>&#8734;</mi>"
        return f"<mn>{escape(text.replace('-', chr(8722)))}</mn>"

    def values(self, shape: tuple[int, ...]) -> str:
        return f"<mi>[{'&#215;'.join(map(str, shape))}]</mi>"

    def row(self, numbers: list[str]) -> str:
        return _row(_sign("["), _sign(",").join(numbers), _sign("]"))

    def part(self, of: str, index: int) -> str:
        return f"<msub>{_row(of)}<mn>{index}</mn></msub>"

    def brackets(self, inner: str) -> str:
        return _row(_sign("("), inner, _sign(")"))

    def infix(self, sign: str, x: str, y: str, digit: bool) -> str:
        between = "&#183;" if sign == " " and digit else _SIGNS.get(sign, escape(sign))
        apart = '<mspace width=".16em"/>' if sign == " " and not digit else ""
        return _row(x, _sign(between), apart, y)

    def minus(self, x: str) -> str:
        return _row(_sign("&#8722;"), x)

    def fraction(self, x: str, y: str) -> str:
        return f"<mfrac>{_row(x)}{_row(y)}</mfrac>"

    def power(self, x: str, n: str) -> str:
        return f"<msup>{_row(x)}{_row(n)}</msup>"

    def root(self, x: str) -> str:
        return f"<msqrt>{x}</msqrt>"

    def bars(self, x: str) -> str:
        return _row(_sign("|"), x, _sign("|"))

    def cases(self, condition: str, x: str, y: str) -> str:
        rows = (
            f"<mtr><mtd>{a}</mtd><mtd>{b}</mtd></mtr>"
            for a, b in ((x, condition), (y, "<mtext>else</mtext>"))
        )
        return _row(_sign("{"), f"<mtable>{''.join(rows)}</mtable>")

    def turned(self, x: str) -> str:
        return f"<msup>{_row(x)}<mo>&#8868;</mo></msup>"

    def function(self, name: str, args: list[str], options: list[str]) -> str:
        parts = [*args, *(f"<mtext>{escape(o)}</mtext>" for o in options)]
        inner = _sign(",").join(parts)
        return _row(f"<mi>{escape(name)}</mi>", _sign("("), inner, _sign(")"))


def mathml(formula: Formula, level: int = LOOSE) -> str:
    """The formula in MathML, within <math>, as deep as its text fits a line."""
    return f'<math displaystyle="true">{write(formula, MathML(), depth(formula), level)}</math>'
