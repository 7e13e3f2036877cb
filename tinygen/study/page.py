"""An explanation as HTML: tables with formulas for a notebook, or one file that opens offline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from .folding import Arrival, arrivals
from .formula import LOOSE, SUM, Name, text
from .mathml import mathml

if TYPE_CHECKING:
    from .explain import Explanation
    from .rules import Rules
    from .tape import Variable

TABLES = (
    ".tg-e{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;overflow-x:auto}"
    ".tg-e table{border-collapse:collapse;margin:.3rem 0 1.2rem}"
    ".tg-e caption{text-align:left;font-weight:600;padding:.3rem 0}"
    ".tg-e th,.tg-e td{text-align:left;padding:.18rem .9rem .18rem 0;vertical-align:middle;"
    "font-weight:400;background:none;white-space:nowrap}.tg-e thead th{color:#57606a;"
    "font-size:.85em;border-bottom:1px solid #8c959f}.tg-e .n{font-family:ui-monospace,monospace;"
    "font-size:.87em}.tg-e .total td,.tg-e .total th{font-weight:600}.tg-e math{font-size:1.08em}"
    ".tg-e mtd{text-align:left}.tg-e .agrees{color:#116329}.tg-e .kink,.tg-e .near{color:#7d4e00}"
    ".tg-e .DISAGREES{color:#b3261e;font-weight:700}.tg-e tr.on>*{background:#dbeafe}"
    "@media(prefers-color-scheme:dark){.tg-e{color:#e6e8ea}.tg-e thead th{color:#a5adb6}"
    ".tg-e .agrees{color:#7ee297}.tg-e .kink,.tg-e .near{color:#f0c265}.tg-e .DISAGREES"
    "{color:#ff9b91}.tg-e tr.on>*{background:#173b66}}"
)
PAGE = (
    ":root{color-scheme:light dark}body{margin:0;background:#fff}main{max-width:72rem;"
    "margin:0 auto;padding:1.2rem}h1{font:600 1.4rem system-ui,sans-serif;margin:.2rem 0 .8rem;"
    "color:#1b1f24}.draw{overflow-x:auto;margin:.6rem 0 1.4rem}.draw:focus,.tg-e:focus{outline:"
    "2px solid #1f6feb}.tg-g g[data-v].on rect{stroke:#1f6feb;stroke-width:3}"
    "@media(prefers-color-scheme:dark){body{background:#14171a}h1{color:#e6e8ea}}"
)
SCRIPT = (
    "const all=[...document.querySelectorAll('[data-v]')],"
    "mark=e=>{const t=e.target.closest&&e.target.closest('[data-v]'),v=t&&t.dataset.v;"
    "all.forEach(x=>x.classList.toggle('on',!!v&&x.dataset.v===v))};"
    "addEventListener('mouseover',mark);addEventListener('focusin',mark)"
)


def tables(e: Explanation) -> str:
    """Two tables, the way forward and the slopes, with formulas in MathML."""
    from .explain import short

    rows = []
    for v in e.leaves():
        kind = "input" if v.given else "parameter"
        rows.append(_row(v.name, _spelled(v.name), kind, short(v.value), ""))
    before = ""
    for g in e.groups:
        line = g.variables[0].line
        names = ", ".join(_spelled(v.name) for v in g.shown)
        right = mathml(g.formula) if g.formula is not None else _calls(g.label, g.count)
        value = short(g.shown[-1].value) if g.shown else ""
        rows.append(_row(g.shown[-1].name if g.shown else "", names, right, value,
                         line if line != before else ""))  # fmt: skip
        before = line
    forward = _table("Forward", ("value", "formula", "number", "line"), rows)
    rows = [row for v in e.slopes() for row in _slope(e, v)]
    caption = (
        f"Backward: a bar, or g(...), is the slope of {escape(e.y.name)} with respect to a value"
    )
    back = _table(caption, ("slope", "rule", "number", "through", "difference", "verdict"), rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in (*e.notes, e.summary()))
    return f'<div class="tg-e" tabindex="0"><style>{TABLES}</style>{forward}{back}{notes}</div>'


def _math(name: str, slope: bool = False) -> str:
    return mathml(Name(name, slope))


def _spelled(name: str) -> str:
    """A name as words of the page, which every screen reader knows: v1 with its number below."""
    stem = name.rstrip("0123456789")
    below = f"<sub>{name[len(stem) :]}</sub>" if stem and stem != name else ""
    return f"<i>{escape(stem or name)}</i>{below}"


def _calls(label: str, count: int) -> str:
    return f"{escape(label)}: {count} calls"


def _table(caption: str, heads: tuple[str, ...], rows: list[str]) -> str:
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _row(of: str, head: str, formula: str, value: str, *more: str, css: str = "") -> str:
    """A row about the variable `of`: its name, a formula, a number, and more cells."""
    cells = "".join(f"<td>{m}</td>" for m in more)
    kind = f' class="{css}"' if css else ""
    return (
        f'<tr data-v="{escape(of)}"{kind}><th scope="row">{head}</th><td>{formula}</td>'
        f'<td class="n">{escape(value.strip())}</td>{cells}</tr>'
    )


def _slope(e: Explanation, v: Variable) -> list[str]:
    """The rows of one slope: a row for each way, and one for their sum."""
    from .explain import said, short

    ways = arrivals(v, e.groups)
    verdict = ["", ""]
    if v.verdict:
        css = "near" if " " in v.verdict else v.verdict
        verdict = [escape(said(v)[0].removeprefix("differences ").removeprefix("difference ")),
                   f'<span class="{css}">{v.verdict}</span>']  # fmt: skip
    rows = []
    for k, way in enumerate(ways):
        last = verdict if len(ways) == 1 else ["", ""]
        sign = f"{_math(v.name, slope=True)} =" if not k else "+"
        rows.append(_row(v.name, sign, _written(way, len(ways)), short(way.value),
                         f"{_math(way.through)} {way.stretched}".strip(), *last))  # fmt: skip
    if len(ways) > 1:
        rows.append(_row(v.name, "=", f"{len(ways)} paths", short(v.slope), "", *verdict,
                         css="total"))  # fmt: skip
    return rows


def _written(way: Arrival, ways: int) -> str:
    if way.formula is None:
        return escape(way.label)
    return mathml(way.formula, SUM if ways > 1 else LOOSE)


def page(e: Explanation, title: str) -> str:
    """One HTML file: the drawing, the tables; it asks no network for anything."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{PAGE}</style></head><body><main><h1>{escape(title)}</h1>"
        f'<div class="draw" tabindex="0" role="region" aria-label="the graph">{e.svg()}</div>'
        f"{tables(e)}</main><script>{SCRIPT}</script></body></html>"
    )


def rules_table(found: Rules) -> str:
    """The table of derivatives with formulas in MathML."""
    rows, before = [], ""
    for r in found:
        head = f"<code>{escape(text(r.forward))}</code>" if r.operation != before else ""
        rows.append(
            f"<tr><td>{head}</td><td>{_math(r.argument)}</td><td>{mathml(r.formula)}</td></tr>"
        )
        before = r.operation
    table: Any = _table(
        "g is the slope of the result, ans the result", ("operation", "argument", "rule"), rows
    )
    return f'<div class="tg-e" tabindex="0"><style>{TABLES}</style>{table}</div>'
