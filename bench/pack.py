"""One file of several runs' results on one machine: what is sent and published together."""

from pydantic import Field

from bench.results import Provenance, Report, ResultFile

SAME = ("gpu", "driver", "tensorrt", "commit", "data")
"""Keys of the provenance that all results of a pack share."""


class Pack(Report):
    """packs/NAME.json."""

    what = "pack of results"
    folder = "packs"

    provenance: Provenance
    """Of the last result."""
    bundle_sha256: str
    """Of the manifest of the bundle that was measured."""
    results: dict[str, ResultFile] = Field(min_length=1)
    """By the name that each is published under."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Stage -> why it has no result, or a part of one."""

    def difference(self, provenance: Provenance, bundle_sha256: str) -> str | None:
        """Return what keeps a result measured now, with this provenance, from joining the pack; None: nothing does."""
        for key in SAME:
            if getattr(self.provenance, key) != getattr(provenance, key):
                return f"another {key}"
        return None if self.bundle_sha256 == bundle_sha256 else "another bundle, or the bundle made anew"
