"""``python -m negmerge`` is ``negmerge``."""

from .cli import main

main()
