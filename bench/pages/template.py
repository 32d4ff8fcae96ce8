"""Pages from Jinja2 templates, in which a name that is not there is an error."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Template


def rendered(template: Path, *, escape: bool, **values: Any) -> str:
    """Return a template's text with these values; `escape`: for HTML. Raises InputError where Jinja2 is missing."""
    return _compiled(template, escape).render(values)


@cache
def _compiled(template: Path, escape: bool) -> "Template":
    try:
        from jinja2 import Environment, StrictUndefined  # a machine that only measures may lack it
    except ImportError as error:
        raise InputError("expected Jinja2 for the page, found none; make it where `make setup` was run") from error
    environment = Environment(autoescape=escape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    return environment.from_string(template.read_text(encoding="utf-8"))
