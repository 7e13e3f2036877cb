"""The command `tinygen`: says what to install where the `app` extra is missing, else runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit code 2 for what the user can mend, 1 for a failed training."""
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
    from .commands import run

    run()
