"""tg.explain and tg.rules: formulas found by watching, slopes against differences, one page."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, models, nn
from tinygen.primitive import PRIMITIVES, Primitive
from tinygen.random import Generator
from tinygen.study import formula as formulas
from tinygen.study.formula import SIGNS, WIDTH, Name, rule_text, text, values_of
from tinygen.study.latex import latex
from tinygen.study.mathml import mathml
from tinygen.study.rules import rules_of

STUDY = Path(formulas.__file__).parent
RULED = [p for p in formulas.operations() if p.rules or p.rule_for_all is not None]
FUSED = [p for p in formulas.operations() if p not in RULED and not p._unrecorded]


def neuron(x: Any, w: Any, b: Any) -> Any:
    return (w * x + b).tanh() * x


# ---- formulas ------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("operation", RULED, ids=lambda p: p.name)
def test_every_rule(operation: Primitive) -> None:
    found = rules_of(operation)
    ruled = {r.argument.partition("[")[0] for r in found}
    assert ruled == {a for a in operation.args if a not in operation.nondiff}
    for rule in found:
        for formula in (rule.forward, rule.formula):
            in_forms(formula)
        print(rule.operation, rule.argument, str(rule))


@pytest.mark.quick
@pytest.mark.parametrize("operation", FUSED, ids=lambda p: p.name)
def test_what_has_no_rule_of_its_own_goes_back_through_its_body(operation: Primitive) -> None:
    found = rules_of(operation)
    assert found
    for rule in found:
        in_forms(rule.formula)


def in_forms(formula: Any) -> None:
    """Text that fits a line, LaTeX whose braces balance, MathML that parses."""
    line = text(formula)
    assert 0 < len(line) <= WIDTH
    assert line.isascii()
    written = latex(formula)
    assert balanced(written)
    assert written.count(r"\left") == written.count(r"\right")
    assert ElementTree.fromstring(mathml(formula)).tag == "math"


def balanced(written: str) -> bool:
    open_ = 0
    for sign in re.findall(r"(?<!\\)[{}]", written):
        open_ += 1 if sign == "{" else -1
        if open_ < 0:
            return False
    return open_ == 0


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mul", ["g y", "g x"]),
        ("div", ["g / y", "g (-(ans / y))"]),
        ("tanh", ["g (1 - ans^2)"]),
        ("matmul_nd", ["g @ y^T", "x^T @ g"]),
        ("maximum", ["g if x > y else (0.5 g if x == y else 0)",
                     "g if y > x else (0.5 g if y == x else 0)"]),
        ("softmax", ["ans (g - sum(g ans, axis=-1, keepdims=True))"]),
        ("silu", ["g sigmoid(x) + g x sigmoid(x) (1 - sigmoid(x))"]),
    ],
)  # fmt: skip
def test_rules_read_as_one_writes_them(name: str, wanted: list[str]) -> None:
    assert [str(r) for r in tg.rules(name)] == wanted


@pytest.mark.quick
def test_brackets_keep_the_order() -> None:
    def f(x: Any, y: Any) -> Any:
        return -(x + y) * (x - (y - x)) / (x * y) + (x / y) ** 2 - x * -y

    e = tg.explain(f, x=1.5, y=0.7)
    lines = {v.name: v.formula for v in e.variables if v.formula is not None}
    names = {v.name: float(v.value) for v in e.variables}
    for name, formula in lines.items():
        python = text(formula).replace("^", "**")
        python = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", python)
        assert eval(python, {}, names) == pytest.approx(names[name])


@pytest.mark.quick
def test_rule_text_takes_an_operation_with_its_call_or_a_node() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x.tanh()
    assert rule_text(y.node, 1) == "g x"
    calls = values_of(PRIMITIVES["sum"], [tg.ones((2, 3))], {"axis": 1})
    assert rule_text(PRIMITIVES["sum"], 0, calls) == (
        "broadcast_to(reshape(g, shape=(2, 1)), shape=x.shape)"
    )
    tg.grad(y.sum(), x)
    with pytest.raises(ValueError, match="retain_graph"):
        rule_text(y.node, 1)


@pytest.mark.quick
def test_no_operation_has_a_text_of_its_own() -> None:
    """Beyond the table of signs no string that prints formulas is the name of an operation.

    The files of a recorded step are left out: the keys of tinygen-step/1, "mean" and "max" of an
    array, are no formulas.
    """
    assert len(SIGNS) <= 24
    names = set(PRIMITIVES)
    for path in STUDY.glob("*.py"):
        if path.stem in ("step", "step_rules", "summary"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        table = [n for n in tree.body if isinstance(n, ast.Assign) and path.name == "formula.py"
                 and ast.unparse(n.targets[0]) == "SIGNS"]  # fmt: skip
        signs = {n for t in table for n in ast.walk(t)}
        met = [n.value for n in ast.walk(tree)
               if isinstance(n, ast.Constant) and n.value in names and n not in signs]  # fmt: skip
        assert met == [], path.name


@pytest.mark.quick
def test_the_table_of_rules_prints_and_names_what_is_unknown() -> None:
    table = tg.rules()
    assert len({r.operation for r in table}) >= 50
    assert all(line.isascii() for line in str(table).splitlines())
    ElementTree.fromstring(table._repr_html_().replace('tabindex="0"', ""))
    with pytest.raises(ValueError, match="argmax has no gradient"):
        tg.rules("argmax")
    with pytest.raises(ValueError, match="no operation is called nothing"):
        tg.rules("nothing")


@pytest.mark.quick
def test_a_rule_of_ones_own_is_read(own_primitives: None) -> None:
    @tg.primitive
    def cube(xp: Any, x: Any) -> Any:
        return x**3

    cube.vjp(x=lambda g, x: g * (3 * x * x))
    assert str(tg.rules(cube)[0]) == "g * 3 x x"


# ---- explanations --------------------------------------------------------------------------------

WANTED = """\
forward
  v1 = w x       -1.2        test_explain.py:LINE
  v2 = v1 + b    -0.8
  v3 = tanh(v2)  -0.664037
  y  = v3 x      -0.531229
backward: g(v) is the slope of y with respect to v
  g(v3) = g(y) x             0.8                     difference 0.8        agrees
  g(v2) = g(v3) (1 - v3^2)   0.447244                difference 0.447244   agrees
  g(v1) = g(v2)              0.447244                difference 0.447244   agrees
  g(x)  = g(y) v3           -0.664037   through y
        + g(v1) w           -0.670866   through v1
        = 2 paths           -1.334903                difference -1.334903  agrees
  g(w)  = g(v1) x            0.357795                difference 0.357795   agrees
  g(b)  = g(v2)              0.447244                difference 0.447244   agrees
6 slopes, 6 agree with differences"""


@pytest.mark.quick
def test_a_neuron_is_explained_line_by_line() -> None:
    found = str(tg.explain(neuron, x=0.8, w=-1.5, b=0.4))
    assert re.sub(r"\.py:\d+", ".py:LINE", found) == WANTED
    assert str(tg.explain(neuron, 0.8, -1.5, 0.4)) == found  # by position


UNARY = (tg.tanh, tg.exp, tg.sin, tg.sigmoid, tg.softplus, tg.square, tg.gelu, tg.erf,
         lambda x: tg.sqrt(x * x + 1), lambda x: tg.log(x * x + 0.5), lambda x: x[::-1],
         lambda x: tg.softmax(x), lambda x: x.sum() + x, lambda x: x.mean() * x)  # fmt: skip
BINARY = (tg.add, tg.mul, tg.sub, lambda x, y: x / (y * y + 1), tg.maximum,
          lambda x, y: tg.where(x > y, x * x, y))  # fmt: skip


def random_graph(seed: int) -> Any:
    """A function of two rows that uses what it made before, some of it several times."""
    rng = np.random.default_rng(seed)
    plan = [(rng.integers(2), rng.integers(64), *rng.integers(64, size=2)) for _ in range(7)]

    def f(x: Any, y: Any) -> Any:
        met = [x, y]
        for two, which, i, j in plan:
            a, b = met[i % len(met)], met[j % len(met)]
            one = UNARY[which % len(UNARY)](a)
            met.append(BINARY[which % (len(BINARY))](a, b) if two else one)
        return (met[-1] * met[-2]).sum()

    return f


@pytest.mark.parametrize("seed", range(40))
def test_differences_agree_on_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    x, y = rng.normal(size=3), rng.normal(size=3)
    e = tg.explain(random_graph(seed), x=x, y=y)
    slopes = e.slopes()
    assert {v.verdict for v in slopes} == {"agrees"}, str(e)
    for v in slopes:
        total = sum(np.broadcast_to(way.value, v.value.shape) for way in v.ways)
        np.testing.assert_allclose(total, v.slope, rtol=1e-12)


@pytest.mark.quick
@pytest.mark.parametrize("x", [0.3, np.array([0.3, -2.0]), np.linspace(-1, 1, 20)])
def test_a_wrong_rule_disagrees(own_primitives: None, x: Any) -> None:
    @tg.primitive
    def cube(xp: Any, x: Any) -> Any:
        return x**3

    cube.vjp(x=lambda g, x: g * (2 * x * x))
    e = tg.explain(lambda x: tg.sum(cube(x) * 2.0), x=x)
    (wrong,) = [v for v in e.slopes() if v.name == "x"]
    assert wrong.verdict == "DISAGREES"
    assert "DISAGREES" in str(e)
    assert "DISAGREES" in e._repr_html_()
    assert "bad" in e.svg()
    assert e.summary().endswith("1 DISAGREES")


@pytest.mark.parametrize("seed", range(20))
def test_the_gradient_penalty_is_explained_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def penalty(w: Any, v: Any, x: Any) -> Any:
        inner = x.detach(requires_grad=True)
        score = tg.sum(tg.tanh(inner @ w) @ v)
        (slope,) = tg.grad(score, [inner], create_graph=True)
        norm = tg.sqrt(tg.sum(slope * slope, axis=1))
        return tg.mean((norm - 1.0) ** 2)

    e = tg.explain(penalty, w=rng.normal(size=(2, 3)), v=rng.normal(size=(3, 1)),
                   x=rng.normal(size=(4, 2)))  # fmt: skip
    verdicts = {v.name: v.verdict for v in e.slopes()}
    assert "DISAGREES" not in verdicts.values(), str(e)
    assert verdicts["w"] == verdicts["v"] == "agrees"
    assert "x" not in verdicts  # it was detached


@pytest.mark.quick
def test_a_sum_over_what_was_stretched_and_a_kink_are_said() -> None:
    e = tg.explain(lambda b, x: (tg.maximum(x, 1.0) * b).sum(), b=0.5, x=np.array([1.0, 4.0]))
    found = str(e)
    assert "= sum(g(v2) v1)" in found
    assert "stretched from () to (2,): 2 paths added" in found
    assert ("kink: maximum at x = 1 (1 of 2 elements): slopes 0 and 1, the rule takes 0.5 "
            "(tg.conventions())") in found  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize(
    ("f", "x", "verdict"),
    [
        (tg.relu, 0.0, "kink"),
        (tg.relu, 1e-5, "agrees"),  # a smaller step is taken
        (lambda x: tg.clip(x, 0.0, 1.0), 1.0, "kink"),
        (lambda x: tg.abs(x) * 3.0, 0.0, "agrees"),
        (tg.sqrt, 1e-4, "agrees"),
        (tg.sqrt, 1e-9, "too close to a singular point"),
        (tg.sqrt, 0.0, "too close to a singular point"),
        (tg.log, 1e-9, "too close to a singular point"),
        (lambda x: tg.round(x, straight_through=True), 0.3, "DISAGREES"),
    ],
)
def test_verdicts(f: Any, x: float, verdict: str) -> None:
    e = tg.explain(lambda x: f(x) * 2.0, x=x)
    assert e.slopes()[-1].verdict == verdict, str(e)


@pytest.mark.quick
def test_a_recorded_graph_is_explained_without_differences() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    w = tg.tensor(3.0, requires_grad=True)
    y = ((x * w).tanh() + 1).sum()
    e = tg.explain(y, x)
    found = str(e)
    assert "v1 = x w" in found
    assert "(not kept)" in found
    assert "g(x)  = g(v1) w" in found
    assert found.splitlines()[-1].startswith("4 slopes; no differences: a graph that was recorded")
    assert "g(w)" in str(tg.explain(y))
    np.testing.assert_array_equal(e.slopes()[-1].slope, tg.grad(y, x)[0].numpy())
    with pytest.raises(RuntimeError, match="released"):
        tg.explain(y, x)


@pytest.mark.quick
def test_the_slopes_are_those_of_the_engine() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    target = np.array([0, 1, 1, 0])

    def loss(x: Any, w: Any) -> Any:
        return losses.cross_entropy(tg.gelu(x @ w), target)

    e = tg.explain(loss, x=x, w=w)
    leaves = [tg.tensor(v, requires_grad=True) for v in (x, w)]
    for v, g in zip(e.leaves(), tg.grad(loss(*leaves), leaves), strict=True):
        np.testing.assert_allclose(v.slope, g.numpy(), rtol=1e-12)


@pytest.mark.quick
def test_draws_repeat_and_leave_no_trace() -> None:
    rng = Generator(5)
    rng.normal(())

    def f(x: Any) -> Any:
        return tg.sum(rng.dropout(x, 0.5) * rng.normal((4,), dtype="float64"))

    first = str(tg.explain(f, x=np.ones(4)))
    assert rng.draws == 1
    assert str(tg.explain(f, x=np.ones(4))) == first
    assert "agree with differences" in first
    assert "normal(shape=(4,)" in first


@pytest.mark.quick
def test_running_state_is_as_before() -> None:
    norm = nn.BatchNorm(3)
    before = norm.state_dict()
    e = tg.explain(lambda x: tg.mean(norm(x) ** 3), x=np.arange(15.0).reshape(5, 3) % 7)
    assert {v.verdict for v in e.slopes()} == {"agrees"}
    for name, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.quick
def test_parameters_in_float32_are_explained_in_float64() -> None:
    layer = nn.Sequential(nn.Dense(3, 2, rng=Generator(0)), nn.Tanh())
    e = tg.explain(lambda x: tg.mean(layer(x)), x=np.ones((2, 3)))
    assert {v.name for v in e.leaves()} == {"x", "0.weight", "0.bias"}
    assert {v.value.dtype for v in e.slopes()} == {np.dtype("float64")}
    assert {v.verdict for v in e.slopes()} == {"agrees"}


@pytest.mark.quick
def test_large_graphs_fold_by_module() -> None:
    blocks = [nn.Sequential(nn.Dense(4, 4, rng=Generator(k)), nn.Tanh()) for k in range(16)]
    network = nn.Sequential(*blocks)

    def f(x: Any) -> Any:
        return tg.mean(network(x) ** 2)

    x = np.ones((2, 4), "float32")
    e = tg.explain(f, x=x)
    found = str(e)
    assert len(e.groups) <= 40
    assert "= 3.0: 2 calls" in found
    assert "back through 3.0" in found
    assert "= 3: 3 calls" in str(tg.explain(f, x=x, depth=1))
    assert {v.verdict for v in e.slopes()} == {"agrees"}
    folded = {v.name: v.slope for v in e.slopes()}
    e.open(9)
    assert len(e.groups) == 50
    assert "calls" not in str(e)
    for v in e.slopes():
        if v.name in folded:
            np.testing.assert_array_equal(v.slope, folded[v.name])


def test_a_vae_is_explained() -> None:
    model = models.VAE((4, 4, 1), latent=2, hidden=8, rng=Generator(0))
    x = tg.tensor(np.random.default_rng(0).random((3, 4, 4, 1)).astype("float32"))
    e = tg.explain(lambda x: model.loss(x, None, Generator(1)), x=x)
    verdicts = {v.verdict for v in e.slopes()}
    assert verdicts == {"agrees"}, str(e)
    assert len(e.groups) == 34
    assert re.search(r"g\(v11\) += g\(v12\) v9", str(e))  # the noise has its name
    assert "= decoder: 6 calls" in str(e.open(1))


@pytest.mark.quick
@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tg.explain(lambda x: x * 2.0, x=np.ones(2)), ValueError, r"shape \(2,\).*tg.sum"),
        (lambda: tg.explain(lambda x: 3.0, x=1.0), TypeError, "returned 3.0; expected a tensor"),
        (lambda: tg.explain(lambda x: tg.sum(x.detach()), x=1.0), ValueError, "does not depend"),
        (lambda: tg.explain(neuron), TypeError, "no inputs; give them by name"),
        (lambda: tg.explain(3.0), TypeError, "expected a function, or a tensor"),
        (lambda: tg.explain(tg.ones(()), x=1.0), TypeError, "x given by name with a tensor"),
        (lambda: tg.explain(tg.ones(())), ValueError, "no graph"),
        (lambda: tg.explain(lambda x: x, x="a"), TypeError, "carries no gradient"),
    ],
)
def test_what_it_refuses(call: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        call()


@pytest.mark.quick
def test_importing_tinygen_does_not_import_it() -> None:
    code = "import sys, tinygen; print([m for m in sys.modules if 'tinygen.study' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# ---- other forms ---------------------------------------------------------------------------------


@pytest.mark.quick
def test_latex_svg_and_the_page(tmp_path: Path) -> None:
    e = tg.explain(neuron, x=0.8, w=-1.5, b=0.4)
    written = e.latex()
    assert written.startswith("\\begin{align*}")
    assert balanced(written)
    assert r"\bar{v_{2}} &= \bar{v_{3}}\,\left(1 - {v_{3}}^{2}\right)" in written
    drawing = ElementTree.fromstring(e.svg())
    boxes = [n.get("data-v") for n in drawing.iter() if n.get("data-v")]
    assert sorted(boxes) == ["b", "v1", "v2", "v3", "w", "x", "y"]
    for name in ("neuron.html", "neuron.svg", "neuron.tex"):
        e.save(tmp_path / name)
    assert (tmp_path / "neuron.html").stat().st_size < 20_000
    assert (tmp_path / "neuron.tex").read_text(encoding="utf-8") == written
    assert latex(Name("log_var")) == r"\mathrm{log\_var}"


@pytest.mark.quick
def test_no_box_lies_on_another() -> None:
    e = tg.explain(random_graph(7), x=np.array([0.1, 0.5, 0.9]), y=np.array([0.3, -0.2, 0.4]))
    places = [
        (float(r.get("x", 0)), float(r.get("y", 0)))
        for r in ElementTree.fromstring(e.svg()).iter("{http://www.w3.org/2000/svg}rect")
    ]
    for i, (x, y) in enumerate(places):
        assert all(x != u or abs(y - v) >= 62 for u, v in places[:i])


CHROME = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROME is None:
        pytest.skip("no browser; looked for chromium, google-chrome")
    with playwright.sync_playwright() as p:
        chrome = p.chromium.launch(executable_path=CHROME, args=["--no-sandbox"])
        yield chrome
        chrome.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_offline(browser: Any, tmp_path: Path, scheme: str) -> None:
    tg.explain(neuron, x=0.8, w=-1.5, b=0.4).save(tmp_path / "neuron.html")
    context = browser.new_context(offline=True, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: asked.append(r.url))
    page.goto((tmp_path / "neuron.html").as_uri())
    assert page.locator("tbody tr").count() == 7 + 8
    assert page.locator("math").first.bounding_box()["height"] > 5
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "draw"
    page.locator("tr[data-v=v2]").last.hover()
    assert page.locator("svg g.on").get_attribute("data-v") == "v2"
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert said == []
    assert len(asked) == 1
    context.close()


@pytest.mark.quick
def test_a_function_that_returns_its_argument_has_the_slope_1() -> None:
    found = tg.explain(lambda x: x, x=1.5)
    assert "g(x)" in str(found)
    assert [float(v.slope) for v in found.slopes()] == [1.0]


@pytest.mark.quick
def test_each_name_in_the_table_of_rules_can_be_asked_for() -> None:
    for name in {text(r.forward).split("(")[0] for r in tg.rules()}:
        if name.isidentifier():
            assert tg.rules(name), name
    assert "norm(" not in str(tg.rules("sum_of_squares"))  # norm is its root
    with pytest.raises(ValueError, match=r"no operation is called std\. .*tg\.sum\(std\(x\)\)"):
        tg.rules(tg.std)
