"""The README: its Python blocks run, its commands exist, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import AVAILABLE

from tinygen.runs.extractor import included

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
PYTHON = [text for language, text in BLOCKS if language == "python"]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number, tmp_path):
    if '"emulated"' in PYTHON[number] and "emulated" not in AVAILABLE:
        pytest.skip("no C++ compiler for the emulated GPU")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PYTHON[number]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "drawn.png" in PYTHON[number]:
        assert_digits(tmp_path / "drawn.png")


def assert_digits(path):
    """What a VAE drew can be read: many kinds of digits, most of them clear, in ink on paper."""
    pillow = pytest.importorskip("PIL.Image")
    sheet = np.asarray(pillow.open(path))
    scale = len(sheet) // (8 * 30 + 2)
    small = sheet[scale // 2 :: scale, scale // 2 :: scale]
    images = [small[y : y + 28, x : x + 28] for y in range(2, 242, 30) for x in range(2, 242, 30)]
    _, p = included("strokes")(np.stack(images)[..., None])
    assert len(np.unique(p.argmax(axis=1))) >= 8
    assert p.max(axis=1).mean() > 0.75
    assert np.mean([image.max() for image in images]) > 200


@pytest.mark.quick
def test_the_first_two_blocks_are_the_two_commands():
    (first, train), (second, test) = BLOCKS[:2]
    assert first == second == "sh"
    assert "tinygen train vae" in train
    assert "pytest" in test
    for block in (train, test):
        assert "venv" in block
        assert "pip install" in block


@pytest.mark.quick
def test_paths_and_pictures_exist():
    paths = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    paths += re.findall(r"`((?:tinygen|examples|bench|tests)/[\w/.]*)`", README)
    missing = [p for p in paths if not (ROOT / p).exists()]
    assert paths
    assert not missing


@pytest.mark.quick
def test_commands_in_the_readme_exist():
    from tinygen.cli.app import app

    known = {c.name for c in [*app.registered_commands, *app.registered_groups]}
    used = set(re.findall(r"^tinygen (\w+)", README, re.M))
    assert used == known
