"""`tinygen learn`: the exercises test themselves, and no answer can harm the checker."""

import ast
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tinygen.learn import apart, check, doctor, lesson, mark, pack, selftest, values
from tinygen.learn import verdict as verdict_of
from tinygen.learn.__main__ import main

DATA = Path(__file__).parent / "data"
STEPS = sorted((Path(__file__).parent.parent / "examples" / "steps").glob("*.py"))
ROW = check.find("05c")


@pytest.fixture
def learn(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder: (exit status, what it printed, what it complained)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        capsys.readouterr()
        status = main(words)
        return status, *capsys.readouterr()

    return run


# ---- the set -------------------------------------------------------------------------------------


def test_self_test(capsys):
    status = selftest.main([])
    out, problems = capsys.readouterr()
    assert not problems
    assert status == 0
    n, passing, refused, wrong, own = map(int, re.findall(r"\d+", out)[:5])
    assert n == passing
    assert wrong == refused == own >= selftest.LEAST * n
    every = check.exercises()
    assert n == sum(not selftest.possible(e) for e in every.values())


def test_clean_order():
    """Each exercise passes alone: its file, an empty folder, tinygen, NumPy and Python's own."""
    every = [e for e in check.exercises().values() if not selftest.possible(e)]
    for e in every:
        for node in ast.walk(ast.parse(e.reference)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in ("tinygen", "numpy") or top in sys.stdlib_module_names, e.name
    ran = apart.run_all([(e, e.reference) for e in every], limit=60)
    for e, one in zip(every, ran, strict=True):
        assert check.judge(e, one.seen).passed, e.name


def test_a_fault_in_an_exercise_is_found(monkeypatch):
    """What the self-test is for: a wrong solution that passes, and two that look the same."""
    from dataclasses import replace

    good = check.find("01e")
    first = good.wrong[0]
    passes = replace(first, was="1 / y,", now="1.0 / y,")
    faulty = replace(good, wrong=(*good.wrong, passes, replace(first, hint="Another one.")))
    monkeypatch.setitem(check.exercises(), good.name, faulty)
    check.known.cache_clear()
    texts = "\n".join(selftest.faults(faulty))
    check.known.cache_clear()
    assert "passes: If y grows" in texts
    assert "gets the hint of number 1: Another one." in texts


def test_every_step_has_an_answer():
    assert STEPS
    for path in STEPS:
        key = path.name.partition("_")[0]
        if "Exercise" in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""):
            text = (lesson.ANSWERS / f"{key}.txt").read_text("utf-8")
            assert text.isascii(), key
            assert max(map(len, text.splitlines())) <= 100, key


# ---- answers of all kinds ------------------------------------------------------------------------

BODY = "def gradient(g, x, row):\n    "
ANSWERS = {
    "nothing returned": (BODY + "pass", "None, expected a tensor of shape (4,); is a `return`"),
    "of shape ()": ("import tinygen as tg\n" + BODY + "return tg.sum(g)", "shape (), expected"),
    "a list": (BODY + "return [1, 2]", "a list or tuple, expected a tensor"),
    "a list of itself": ("a = []\na.append(a)\n" + BODY + "return a", "a list or tuple"),
    "an array": (BODY + "return row.numpy()", "an array of shape (4,), expected a tensor"),
    "an odd array": ("import numpy\n" + BODY + "return numpy.array([None])", "array of object"),
    "an exception": (BODY + "return 1 / 0", "stopped with ZeroDivisionError: division by zero"),
    "one that has no words": (
        "class E(Exception):\n    def __str__(self): raise OSError\n" + BODY + "raise E",
        "its message cannot be read",
    ),
    "an interrupt": (BODY + "raise KeyboardInterrupt", "KeyboardInterrupt"),
    "sys.exit": ("import sys\n" + BODY + "sys.exit(0)", "the program ends itself (exit)"),
    "os._exit": ("import os\n" + BODY + "os._exit(0)", "the program ended by itself"),
    "a crash": ("import os\n" + BODY + "os.kill(os.getpid(), 9)", "the program ended by itself"),
    "a wrong name": ("def gradiant(g, x, row):\n    return g", "the file defines no `gradient`"),
    "nothing": ("", "the file defines no `gradient`"),
    "no Python": ("def gradient(g, x, row:\n    return g", "The file stops while it is loaded"),
    "a zero": ("a = \0", "The file stops while it is loaded"),
    "too deep": ("(" * 100_000, "The file stops while it is loaded"),
    "recursion": (BODY + "return gradient(g, x, row)", "RecursionError"),
    "input": (BODY + "return input()", "the program waits for input"),
    "closed files": (
        "import os\nos.closerange(3, 30)\n" + BODY + "return g", "the program ended by itself",
    ),
    "no output": ("import sys\nsys.stdout = None\n" + BODY + "print(1)\n    return g", "shape (3"),
    "a thread that stays": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n"
        + BODY + "return g",
        "shape (3, 4), expected (4,)",
    ),
    "a program that stays": (
        "import subprocess, sys\nsubprocess.Popen(['sleep', '99'])\n" + BODY + "return g",
        "shape (3, 4), expected (4,)",
    ),
    "not a number": (BODY + "return row * float('nan')", "nan at [0], expected"),
    "a large array": (
        "import tinygen as tg\n" + BODY + "return tg.zeros((2000, 2000))", "shape (2000, 2000)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ran():
    """All of ANSWERS, run once."""
    sources = [source for source, _ in ANSWERS.values()]
    found = apart.run_all([(ROW, s) for s in sources], limit=30)
    return dict(zip(ANSWERS, found, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill and sleep of other systems")
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_cannot_harm_the_checker(name, ran):
    found = check.judge(ROW, ran[name].seen)
    assert not found.passed
    assert not ran[name].late
    assert ANSWERS[name][1] in " ".join(lesson.told(found).split())


def test_one_who_ends_all_does_not_take_the_others_along():
    """A class runs in copies of one process, which an answer can reach."""
    kills = "import os, signal\n" + BODY + "os.kill(os.getppid(), signal.SIGKILL)"
    kills = kills if apart.SPLITS else ""
    ran = apart.run_all([(ROW, kills), (ROW, ROW.reference)], limit=30)
    assert [check.judge(ROW, one.seen).passed for one in ran] == [False, True]


def test_an_endless_loop_is_stopped_and_its_line_named():
    source = BODY + "import sys\n    while True:\n        print('x' * 70)"
    ran = apart.run(ROW, source, limit=0.5)
    told = lesson.told(check.judge(ROW, ran.seen), ran.printed)
    assert ran.late
    assert len(ran.printed) <= check.PRINTED
    assert "not done after 0.5 seconds" in told


def test_the_message_comes_before_the_trace_and_names_the_line():
    ran = apart.run(ROW, BODY + "h = g * x\n    print('hello')\n    return h.nonsense")
    lines = lesson.told(check.judge(ROW, ran.seen), ran.printed).splitlines()
    assert lines[0].startswith("05c_row: not yet. For arguments of the shapes")
    where = lines.index("   where:")
    assert "stopped with AttributeError" in " ".join(lines[:where])
    assert lines[where + 1] == "      line 4, in gradient: return h.nonsense"
    assert lines[where + 2 :][:2] == ["   it printed:", "      hello"]


def test_a_mistake_is_known_by_its_numbers_and_not_by_its_text():
    """The listed wrong solution, written another way, gets the hint; another number does not."""
    source = "import tinygen as tg\n" + BODY + "a = x * g\n    for _ in range({}):\n"
    source += "        a = tg.sum(a, axis=0)\n    return a"
    found = check.judge(ROW, check.look(ROW, source.format(1)))
    assert found.hint.startswith("Right for two axes; what if x has three?")
    assert found.right == ("arguments of the shapes (3, 4), (4,)",)
    assert not check.judge(ROW, check.look(ROW, BODY + "return 7 * row * g.sum()")).hint


def test_primitives_of_an_answer_are_forgotten():
    from tinygen.primitive import PRIMITIVES

    before = set(PRIMITIVES)
    own = check.find("03b")
    assert check.judge(own, check.look(own, own.reference)).passed
    assert set(PRIMITIVES) == before


@pytest.mark.parametrize(
    ("got", "want", "text"),
    [
        (1.0, 1.0 + 1e-9, ""),
        (1.0, 1.1, "1, expected 1.1"),
        (float("nan"), float("nan"), ""),
        (float("inf"), 5.0, "inf, expected 5"),
        ((1, 2.0), [1.0, 2.0], ""),
        ([1, 2, 3], [1, 2], "3 items, expected 2"),
        ([1, [2, 5]], [1, [2, 4]], "item 2: item 2: 5, expected 4"),
        ({"a": 1}, {"a": 1, "b": 2}, "'b' is missing"),
        (None, 1.0, "None, expected a number; is a `return` missing?"),
        (True, 1.0, "True or False, expected a number"),
        ("x", "y", "'x', expected 'y'"),
        (object(), 1.0, "object, expected a number"),
        (10**400, 1.0, "an integer too large for a float, expected a number"),
    ],
)
def test_differences_in_words(got, want, text):
    assert values.difference(values.plain(got), values.plain(want)) == text


# ---- the commands --------------------------------------------------------------------------------


def test_the_way_of_a_student(learn, tmp_path):
    assert learn("check")[2].startswith("error: nothing is started yet")
    status, out, _ = learn("start", "01e")
    assert status == 0
    path = tmp_path / "learn" / "01e_quotient.py"
    assert out.startswith(str(path.relative_to(tmp_path)))
    assert "there already" in learn("start", "01e")[2]
    status, out, _ = learn("check")
    assert status == 1
    assert "still as it was given" in out
    assert "try first" in learn("answer", "01e")[1]

    path.write_text("def slopes(x, y):\n    return 1 / y, x / y**2\n")
    status, out, _ = learn("check", "01e")
    assert status == 1
    assert "hint: If y grows" in out
    assert "0 of" in out
    assert "to what you wrote: If y grows" in learn("hint")[1]
    assert "return 1 / y, -x / y**2" in learn("answer", "01e")[1]

    path.write_bytes("def slopes(x, y):\r\n    return 1 / y, -x / y**2\r\n".encode("utf-16"))
    status, out, _ = learn("check", str(path))
    assert status == 0
    assert "why: A quotient is a product" in " ".join(out.split())
    assert "in the engine: tinygen/ops/elementwise.py:" in out
    assert "1 of" in out
    assert learn("start", "01e", "--again")[0] == 0
    assert path.with_suffix(".py.old").exists()
    assert "learn/01a_back.py" in learn("next")[1].replace("\\", "/")
    assert "lesson 01  ....#" in learn("progress")[1]
    assert {p.name for p in tmp_path.iterdir()} == {"learn"}


def test_what_cannot_be_done_is_said(learn, tmp_path):
    assert "there is no exercise '99z'" in learn("check", "99z")[2]
    assert "lesson 05 has 05a" in learn("check", "05z")[2]
    assert "lesson 77 has no exercises" in learn("list", "77")[2]
    assert "is no folder" in learn("mark", "nowhere")[2]
    (tmp_path / "learn").mkdir()
    (tmp_path / "learn" / "progress.json").write_text("[")
    status, _, problem = learn("progress")
    assert status == 2
    assert "cannot be read as JSON" in problem


def test_the_answer_to_a_step_comes_after_ones_own(learn):
    status, out, _ = learn("answer", "05")
    assert status == 1
    assert "first write down what you found" in out
    status, out, _ = learn("answer", "5", "--mine", "the sums")
    assert status == 0
    assert out.startswith("yours: the sums")
    assert (lesson.ANSWERS / "05.txt").read_text("utf-8").strip() in out
    assert learn("answer", "05")[0] == 0


def test_marks_are_the_same_bytes_everywhere(learn, tmp_path, capsys):
    """Where the change is meant: write what is found into the file."""
    assert mark.main(DATA / "class30", tmp_path / "m.csv", limit=3) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("most failed: 05c_row, 17 of 18 failed: Right for two axes")
    assert (tmp_path / "m.csv").read_bytes() == (DATA / "class30.csv").read_bytes()


def test_submissions_are_found_under_any_name(tmp_path):
    names = (
        "Ada/05c_row.py", "Bo_123_file_/deep/05c_row (1).py", "Zoe_05c_row.py",
        "__MACOSX/._05c_row.py", ".git/05c_row.py",
    )  # fmt: skip
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "=cmd").mkdir()
    (tmp_path / "=cmd" / "other.py").write_text("")
    found = {(name, e and e.name) for name, e, _ in mark.submissions(tmp_path)}
    assert found == {
        ("Ada", "05c_row"), ("Bo_123_file_", "05c_row"), ("Zoe", "05c_row"), ("=cmd", None)
    }  # fmt: skip
    assert mark._safe("=cmd") == "'=cmd"


def test_a_pack_opens_and_holds_what_start_writes(learn, tmp_path):
    assert learn("pack", "--lessons", "01,05-06", "--out", "class.zip")[0] == 0
    data = (tmp_path / "class.zip").read_bytes()
    assert data == pack.packed("01,05-06")
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    names = archive.namelist()
    assert names[0] == "README.txt"
    assert "learn/05c_row.py" in names
    assert not any(name.startswith("learn/02") for name in names)
    for name in names[1:]:
        text = archive.read(name).decode()
        compile(text, name, "exec")
        assert text == lesson.text_of(check.find(name))
        assert "\n    hint" not in text


@pytest.mark.parametrize("teacher", [False, True], ids=["student", "teacher"])
def test_a_notebook_opens_and_its_last_cell_looks(teacher, learn, tmp_path, capsys):
    words = ["notebook", "05c", "--out", "n.ipynb"] + ["--teacher"] * teacher
    assert learn(*words)[0] == 0
    assert "there already" in learn(*words)[2]
    found = json.loads((tmp_path / "n.ipynb").read_text("utf-8"))
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(found)
    names: dict = {}
    work, looks = ("".join(c["source"]) for c in found["cells"] if c["cell_type"] == "code")
    exec(work, names)
    if teacher:
        assert "### BEGIN SOLUTION" in work
        exec(looks, names)
        assert "05c_row: right" in capsys.readouterr().out
    else:
        assert "tg.sum(each" not in work
        with pytest.raises(AssertionError, match=r"shape \(3, 4\), expected \(4,\)"):
            exec(looks, names)
    graded = [c["metadata"]["nbgrader"] for c in found["cells"] if c["metadata"]]
    assert [(g["grade"], g["solution"], g["locked"]) for g in graded] == [
        (False, True, False), (True, False, True)
    ]  # fmt: skip


def test_a_verdict_in_a_notebook(capsys):
    verdict_of("01e", {"slopes": lambda x, y: (1 / y, -x / y**2)})
    assert "01e_quotient: right" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="the file defines no `slopes`"):
        verdict_of("01e", {})


def test_the_doctor(learn, monkeypatch):
    status, out, _ = learn("doctor")
    assert status == 0
    assert re.search(r"^ok  Python ", out, re.MULTILINE)
    monkeypatch.setattr(doctor, "compiler", lambda: "")
    assert "lesson 19     needs a C++ compiler" in learn("doctor")[1]


def test_it_needs_numpy_alone_and_nothing_imports_it(tmp_path):
    """Neither typer nor Numba, from both commands; and `import tinygen` leaves it aside."""
    code = (
        "import sys\n"
        "for name in ('typer', 'rich', 'numba', 'PIL', 'matplotlib'): sys.modules[name] = None\n"
        "import tinygen\n"
        "assert not any(m.startswith('tinygen.learn') for m in sys.modules)\n"
        "from tinygen.cli import main\n"
        "sys.argv = ['tinygen', 'learn', 'list', '01']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "01a_back" in done.stdout


def test_the_help_of_tinygen_names_it(tinygen):
    code, out, _ = tinygen("--help")
    assert code == 0
    assert "learn" in out
