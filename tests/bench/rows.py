"""Rows of any kind made from one of another: what both kinds have stays."""

from collections.abc import Mapping

from pydantic import TypeAdapter

from bench.rows import AnyRow, Row

ROWS: TypeAdapter[AnyRow] = TypeAdapter(AnyRow)
KINDS = {mode: kind for kind in AnyRow.__origin__.__args__ for mode in kind.model_fields["mode"].annotation.__args__}  # type: ignore[attr-defined]


def changed(row: Row, update: Mapping[str, object]) -> AnyRow:
    """The row with these keys, of the kind that its mode is of; a key that this kind has not is refused."""
    kind = KINDS[str(update.get("mode", row.mode))]
    kept = {key: value for key, value in row.model_dump().items() if key in kind.model_fields}
    return ROWS.validate_python(
        kept | {key: value for key, value in update.items() if value is not None or key in kept}
    )
