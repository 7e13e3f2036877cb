"""`python -m tinygen` is `tinygen`."""

from .cli import main

main()
