"""`tinygen learn`, and the same as `python -m tinygen.learn`: exercises that explain themselves.

It needs NumPy alone. Every command is a function of a module beside this file, imported when it is
asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..output import guarded
from . import apart

ABOUT = """Exercises of the lessons in examples/steps: write a few lines, and let them be looked at.

    next                 begin the first exercise that is not done
    check                look at the file that you changed last
    hint 05c             what to think of; after a check, of your own mistake
    answer 05c           one right answer, after a try of your own
"""
LESSONS = "lessons or exercises, such as 05 or 01-09 or 05c,06a; all without it"


def parser(prog: str) -> argparse.ArgumentParser:
    """The commands and their options."""
    from . import course

    top = argparse.ArgumentParser(
        prog=prog, description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--self-test", action="store_true", help="test the exercises themselves")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")

    add("list", "show the exercises").add_argument("lessons", nargs="?", default="", help=LESSONS)
    one = add("start", "write the file of an exercise into ./learn")
    one.add_argument("exercise", help="such as 05c")
    one.add_argument("--again", action="store_true", help="begin anew; yours is kept as .py.old")
    one = add("check", "look at an answer and say what is wrong")
    one.add_argument("exercise", nargs="?", default="", help="such as 05c, or a file")
    one = add("hint", "what to think of")
    one.add_argument("exercise", nargs="?", default="", help="such as 05c")
    one = add("answer", "an answer, after a try: of an exercise (05c) or a step (05)")
    one.add_argument("exercise", help="05c; or 05 or step05b, for the exercise of a step")
    one.add_argument("--mine", default="", metavar="TEXT", help="what you found in a step")
    add("next", "begin the first exercise that is not done")
    add("progress", "how many are done")
    one = add("pack", "a ZIP file of exercises for a class")
    one.add_argument("--lessons", default="", help=LESSONS)
    one.add_argument("--out", type=Path, default=Path("class.zip"), metavar="FILE")
    one = add("mark", "look at all answers in a folder of submissions")
    one.add_argument("folder", type=Path, help="with a folder for each student")
    one.add_argument("--out", type=Path, default=Path("marks.csv"), metavar="FILE")
    one = add("notebook", "an exercise as a Jupyter notebook")
    one.add_argument("exercise", help="such as 05c")
    one.add_argument("--teacher", action="store_true", help="with the answer, for nbgrader, otter")
    one.add_argument("--out", type=Path, default=None, metavar="FILE")
    one = add("step", "record one training step of a run, as a page to step through")
    one.add_argument("run", type=Path, help="the folder of the run")
    one.add_argument("--seed", type=int, default=0, help="of the batch and the noise")
    one.add_argument("--data", default=None, metavar="SOURCE", help="other data than its own")
    one.add_argument(
        "--out",
        type=Path,
        default=Path("step.html"),
        metavar="FILE",
        help=".html, or .json for the data",
    )
    course.arguments(add("page", "lessons, exercises and Python in one HTML file"))
    add("doctor", "what this machine has, and which lessons run on it")
    return top


def main(arguments: Sequence[str] | None = None, prog: str = "python -m tinygen.learn") -> int:
    """Run a command; returns the exit status, 2 for a request that cannot be met."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    program = arguments is None or prog == "tinygen learn"  # and not a part of another
    if program and words[:1] != ["step"]:  # a run's step is what training does, by its kernels
        os.environ.update(apart.PLAIN)
    with guarded():
        if "--self-test" in words:
            from . import selftest

            words.remove("--self-test")
            return selftest.main(words)
        top = parser(prog)
        given = top.parse_args(words)
        if given.command is None:
            top.print_help()
            return 0
        try:
            return run(given, prog)
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2


def run(given: argparse.Namespace, prog: str) -> int:
    """Do what was asked for."""
    from . import course, doctor, lesson, mark, notebook, pack

    match given.command:
        case "list":
            return lesson.list_(given.lessons)
        case "start":
            return lesson.start(given.exercise, again=given.again)
        case "check":
            return lesson.check(given.exercise)
        case "hint":
            return lesson.hint(given.exercise)
        case "answer":
            return lesson.answer(given.exercise, given.mine)
        case "next":
            return lesson.next_()
        case "progress":
            return lesson.progress_()
        case "pack":
            return pack.main(given.lessons, given.out, prog)
        case "mark":
            return mark.main(given.folder, given.out)
        case "notebook":
            return notebook.main(given.exercise, given.out, teacher=given.teacher)
        case "step":
            from . import step_of_run  # with models and runs

            return step_of_run.main(given.run, given.out, given.seed, given.data)
        case "page":
            return course.main(given)
        case _:
            return doctor.main()


if __name__ == "__main__":
    sys.exit(main())
