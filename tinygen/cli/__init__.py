"""The command `tinygen`: says what to install where the `app` extra is missing, else runs."""

from __future__ import annotations

import sys

from ..output import guarded
from ..signals import Stopped, stoppable


def main() -> None:
    """Run the command line.

    Exit code 2 for user errors, 1 for a failed training, 128 and its number for a signal
    that stopped it.
    """
    with guarded():
        try:
            with stoppable():
                _main()
        except Stopped as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(128 + stopped.number)


def _main() -> None:
    if sys.argv[1:2] == ["learn"]:  # which needs none of the packages
        from ..learn.__main__ import main as learn

        sys.exit(learn(sys.argv[2:], "tinygen learn"))
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(
            f"tinygen: the command line needs the package {error.name!r}; install it with\n"
            '  pip install "tinygen[app]"        (in a clone: pip install -e ".[app]")',
            file=sys.stderr,
        )
        sys.exit(2)
    from .app import run

    run()
