"""What is published: the files of a folder of results, by their kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.pages.configurations import Configuration, configurations
from bench.results import Report, ResultFile, read_results
from bench.speech.bargein import BargeInFile
from bench.step.batch import BatchReport
from bench.step.int8_accuracy import AccuracyReport
from bench.step.projection import Projection, StreamsProjection
from engines.memory import MemoryByOwner


class _Plan(BaseModel):
    gpu: str
    memory_mb: MemoryByOwner


class Inspection(Report):
    """What `python -m engines.inspect --json` writes, as far as it is shown."""

    model_config = ConfigDict(extra="ignore")
    what = "inspection"
    advice = "inspect again with `python -m engines.inspect --json`"
    folder = "inspect"

    bundle: str
    precision: str
    plan: _Plan | None = None


@dataclass(frozen=True)
class Published:
    """The files of a folder, each kind's by name."""

    results: dict[str, ResultFile]
    bargein: Sequence[BargeInFile]
    accuracy: Sequence[AccuracyReport]
    batches: Sequence[BatchReport]
    projections: Sequence[Projection]
    served: Sequence[StreamsProjection]
    inspections: Sequence[Inspection]

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Those of all files, in their order: several pages show them, and to sum up records takes seconds."""
        return list(chain.from_iterable(map(configurations, self.results.values())))

    @property
    def ends(self) -> ResultFile | None:
        """The file with times to first texts by stage that was measured last, one of a GPU's before one of a CPU's."""
        found = [result for result in self.results.values() if first_texts(result)]
        return max(found, key=lambda result: (not result.functional_check, result.provenance.date), default=None)


def read_published(folder: Path) -> Published:
    """Read a folder of results. Raises InputError for a missing folder or a broken file in it."""
    return Published(
        read_results(folder),
        list(read_results(folder, BargeInFile).values()),
        list(read_results(folder, AccuracyReport).values()),
        list(read_results(folder, BatchReport).values()),
        list(read_results(folder, Projection).values()),
        list(read_results(folder, StreamsProjection).values()),
        list(read_results(folder, Inspection).values()),
    )


def first_texts(result: ResultFile) -> list[dict[str, float]]:
    """Return the stages of the time to each clip's first text."""
    return [record.waterfall for record in result.utterances if record.waterfall]
