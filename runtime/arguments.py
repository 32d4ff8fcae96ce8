"""Command lines whose mistakes are one line, as all others are."""

import argparse
from typing import NoReturn

from .errors import InputError


class Arguments(argparse.ArgumentParser):
    """An ArgumentParser that raises InputError where it would print the usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(f"{message}; see {self.prog} --help")
