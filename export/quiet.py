"""What NeMo says while it imports and restores: kept from the terminal, and of its errors the cause."""

import contextlib
import io
import logging
import re
from collections.abc import Iterator

LOGGER = "nemo_logger"
CAUSE = re.compile(r"^Error\(s\):\s*(.+?)^(?:full_key|Traceback)", re.MULTILINE | re.DOTALL)
"""Where NeMo cannot make a model, it logs why, tries another class, and raises what that one says."""


@contextlib.contextmanager
def quiet_nemo() -> Iterator[None]:
    """Keep NeMo's import and restore chatter from the terminal; errors are raised all the same."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)


@contextlib.contextmanager
def errors_of_nemo(causes: list[str]) -> Iterator[None]:
    """Add to `causes` why models could not be made within the block."""

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            causes.extend(CAUSE.findall(record.getMessage()))

    kept, logger = Kept(logging.ERROR), logging.getLogger(LOGGER)
    logger.addHandler(kept)
    try:
        yield
    finally:
        logger.removeHandler(kept)
