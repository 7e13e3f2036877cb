"""Write the help of each training command and the tables of options in examples/training.md.

    python tests/record_help.py

test_help.py compares data/help/*.txt, test_readme.py the tables. Run by hand when an option or its
help changes, and read the difference.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "help"
PAGE = Path(__file__).parent.parent / "examples" / "training.md"
COLUMNS = 100


def plain(text: str) -> str:
    """Help as it is stored: without colours and spaces at the ends of lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def with_tables(page: str) -> str:
    """The page with the tables of all options between its two marks."""
    begin, end = re.findall(r"<!-- options: .*? -->", page)
    before, after = page.split(begin)[0], page.split(end)[1]
    return before + begin + "\n\n" + tables() + "\n" + end + after


def tables() -> str:
    """A table for each panel of the help; options that models describe alike share a row."""
    from tinygen import models
    from tinygen.cli.options import flags, in_full
    from tinygen.cli.train import groups_of

    rows: dict[str, dict[tuple[str, str], list[str]]] = {}  # panel -> (flags, help) -> models
    for name in models.MODELS:
        for group in groups_of(models.find(name)):
            panel = "A model" if group.title.startswith("Options of") else group.title
            for each in group.options:
                text = in_full(each, group.defaults.get(each.name)).replace("|", "\\|")
                option = " ".join(f"`{flag}`" for flag in flags(each))
                if each.choices and each.metavar is None:
                    option += " " + ", ".join(each.choices)
                key = (option, text)
                rows.setdefault(panel, {}).setdefault(key, []).append(f"`{name}`")
    text = ""
    for panel, found in rows.items():
        text += f"### {panel}\n\n| option | models | what it is |\n|---|---|---|\n"
        options = list(dict.fromkeys(option for option, _ in found))
        for option, about in sorted(found, key=lambda key: options.index(key[0])):
            kinds = found[option, about]
            who = "all" if len(kinds) == len(models.MODELS) else ", ".join(kinds)
            text += f"| {option} | {who} | {about} |\n"
        text += "\n"
    return text.rstrip("\n") + "\n"


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
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
