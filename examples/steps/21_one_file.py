"""One file: a trained generator that runs where tinygen, and even NumPy, is not installed.

After training a network is a chain of linear maps and activations, and a few numbers that say where
each begins. That is little enough to write down as a program: weights as text, and the sums. The
noise is exact arithmetic too, so that a seed draws the same picture everywhere.

Look at: how many lines of the file are not weights, and how far its grey levels are from the
engine's. What does rounding the weights to a quarter of their size change?
Exercise: set CHANGED to 1. What does the file say of itself, and does it still draw?
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import tinygen as tg
from tinygen import export, models, train

CHANGED = 0  # letters in the middle of the weights to change before the file checks itself


def main():
    images, _ = tg.data.strokes(n=4000, seed=0)
    data = tg.data.Dataset("strokes", images)
    model = models.VAE(data.shape, hidden=(128,), latent=8, rng=tg.random.Generator(0))
    run = train.fit(model, data, epochs=8, progress=False)

    with tempfile.TemporaryDirectory() as folder:
        for precision in export.PRECISIONS:
            made = export.prepare(run.model, "digits", weights="", precision=precision)
            file, raw = Path(folder, "digits.py"), Path(folder, "grey")
            export.write("python", made, file)
            # -I -S: only what Python itself brings
            python = [sys.executable, "-I", "-S", str(file)]
            draw = [*python, "--n", "20", "--seed", "3", "--raw", str(raw)]
            subprocess.run(draw, check=True, capture_output=True)
            drawn = np.fromfile(raw, np.uint8).reshape(20, *data.shape).astype(int)
            apart = np.abs(drawn - np.rint(255 * run.sample(20, seed=3)))
            code = sum(len(line) < 96 for line in file.read_text().splitlines())
            print(
                f"{precision:>8}: {file.stat().st_size:,} bytes, {code} lines without weights; "
                f"grey levels apart: mean {apart.mean():.2f}, most {apart.max():.0f}"
            )
        text = file.read_text()
        middle = len(text) // 2
        letters = "".join("B" if c == "A" else "A" for c in text[middle : middle + CHANGED])
        file.write_text(text[:middle] + letters + text[middle + CHANGED :])
        checked = subprocess.run([*python, "--self-test"], capture_output=True, text=True)
        print(checked.stdout, checked.stderr, sep="", end="")


if __name__ == "__main__":
    main()
