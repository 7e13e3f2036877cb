"""Write the help of each training command, which test_help.py compares: data/help/*.txt.

    python tests/record_help.py

Run by hand when an option or its help changes, and read the difference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "help"
COLUMNS = 100


def plain(text: str) -> str:
    """Help as it is stored: without colours and spaces at the ends of lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def main() -> None:
    from tinygen import models

    FOLDER.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "dumb"}
    for name in ("", *models.MODELS):
        command = [sys.executable, "-m", "tinygen", "train", *([name] if name else []), "--help"]
        shown = subprocess.run(command, env=env, check=True, capture_output=True, encoding="utf-8")
        path = FOLDER / f"{name or 'train'}.txt"
        path.write_text(plain(shown.stdout), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
