"""Failures that the user can mend: one plain line, no traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Its text is one plain line that says what is wrong and what to do."""


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a console command; a UserError becomes one line on stderr and exit status 1, Ctrl-C status 130."""
    try:
        status = main()
    except UserError as e:
        print(f"error: {e}", file=sys.stderr, flush=True)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line instead of the whole usage; exit status 2."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr, flush=True)
        sys.exit(2)
