"""Building a plan: parse the bundle's step, build it, write the plan whole and its stamp last."""

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from engines import profiles
from engines.precision import set_flags, with_fp32_scales
from engines.progress import MessageLog, make_logger, watched
from engines.sums import products_as_sums
from engines.target import Target
from export import placement, quantise
from runtime.bundle import Graph, Precision, checked_file, read_bundle
from runtime.errors import InputError
from runtime.files import check_room, sha256, sources_hash, written_whole
from runtime.stamp import Stamp, check_stamp, plan_path, read_stamp, stamp_path

Products = Literal["matrix", "sum"]

TIMING = Path("build/timing")  # kernels' times are this machine's, not a bundle's
SOURCES = (
    *(Path(__file__).with_name(name) for name in ("precision.py", "sums.py", "target.py")),
    *(Path(str(module.__file__)) for module in (placement, quantise)),
)


@dataclass(frozen=True)
class BuildOptions:
    """What the builder is told beside the precision."""

    level: int = 3
    """TensorRT's optimisation level, 0 to 5: higher tries more kernels for longer."""
    cublas: bool = True
    """Whether kernels of cuBLAS and cuDNN may be used; False where those libraries are stubs."""
    products: Products = "matrix"
    """sum: products of few rows as sums, see engines/sums.py; they are the faster ones in TensorRT 8.6."""


class PlanBuild:
    """The build of a bundle's step of one precision, of the evaluation that goes with it, or of that step over many streams."""

    def __init__(
        self,
        folder: Path,
        precision: Precision,
        target: Target,
        options: BuildOptions,
        graph: Graph = "step",
        *,
        sizes: Sequence[int] = (),
    ) -> None:
        """`sizes`: of `batched`, the numbers of streams that it is built for, see engines/profiles.py.

        Raises InputError for a bundle that is broken or lacks the precision or the graph.
        """
        self.folder, self.target, self.options, self.sizes = folder, target, options, sizes
        self.bundle = read_bundle(folder)
        self.precision, self.entry = self.bundle.graph(precision, graph)
        self.plan = target.named(plan_path(folder, self.precision, graph))

    @property
    def recorded(self) -> dict[str, str | int | bool]:
        """The stamp's options, with the hash of what rewrites the graph and configures the builder."""
        told = {"library": str(self.target.trt.__name__), **asdict(self.options)}
        if not self.sizes:
            return told | {"sources": sources_hash(SOURCES)}
        of_many = Path(str(profiles.__file__))
        return told | {"sources": sources_hash((*SOURCES, of_many)), "sizes": ",".join(map(str, self.sizes))}

    def is_current(self) -> bool:
        """Whether the plan is whole and was built from this bundle for this target with these options."""
        try:
            stamp = read_stamp(self.plan)
            check_stamp(stamp, self.plan, self.entry, self.precision, self.target.platform)
        except InputError:
            return False
        return stamp.options == self.recorded

    def run(self) -> Stamp:
        """Write the plan and return its stamp, which is written last. The timing cache is kept in TIMING.

        Raises InputError, and writes nothing, for a graph that is not whole or that TensorRT does not parse, and for a build that
        fails; raises KeyboardInterrupt, and writes nothing, after Ctrl-C.
        """
        source = checked_file(self.folder, self.entry)
        flagged = not self.target.strongly_typed
        is_int8 = flagged and self.precision == "int8"
        content = with_fp32_scales(self.folder, self.bundle) if is_int8 else source.read_bytes()
        if self.options.products == "sum":
            content = products_as_sums(content)
        library, gpu, _ = self.target.platform
        timing = TIMING / f"{re.sub(r'[^A-Za-z0-9.]+', '-', gpu)}-{library}.cache"
        check_room(self.plan, self.entry.bytes)
        check_room(timing)
        started = time.perf_counter()
        serialized, cache = self.serialized(source, content, timing)
        built = time.perf_counter() - started
        with written_whole(self.plan) as partial:
            partial.write_bytes(serialized)
            stamp_path(self.plan).unlink(missing_ok=True)  # a plan without a stamp is never read
        stamp = Stamp(
            step_sha256=self.entry.sha256,
            precision=self.precision,
            plan_sha256=sha256(self.plan),
            **self.target.platform._asdict(),
            options=self.recorded,
            weights_typed="flags" if flagged else "strong",
            build_s=round(built, 1),
            created=datetime.now(timezone.utc).date().isoformat(),
        )
        stamp.write(stamp_path(self.plan))
        if cache is not None:
            with written_whole(timing) as partial:
                partial.write_bytes(cache)
        return stamp

    def serialized(self, source: Path, content: bytes, timing: Path) -> tuple[bytes, bytes | None]:
        """The engine of the ONNX `content` of `source`, and the timing cache where there is one."""
        trt = self.target.trt
        logger = make_logger(trt)
        try:
            builder = trt.Builder(logger)
        except TypeError as error:  # what the bindings raise for a null builder
            raise _failure("start its builder", logger, "check nvidia-smi and the driver") from error
        network = builder.create_network(self.target.network_flags)
        parser = trt.OnnxParser(network, logger)  # it owns the weights: kept until the build is done
        if not parser.parse(content):
            logger.errors[:0] = [" ".join(str(parser.get_error(index)).split()) for index in range(parser.num_errors)]
            raise _failure(f"parse {source}", logger, "make the bundle again with `make export`")
        config = builder.create_builder_config()
        self.target.configure(config, self.options.level, self.options.cublas)
        profiles.add_profiles(trt, builder, config, network, self.sizes)
        if not self.target.strongly_typed:
            set_flags(trt, config, network, self.precision)
        cache = None if self.target.offline else _timing_cache(config, timing)  # RTX asks a GPU as soon as it has one
        logger.errors.clear()  # a cache of another driver is refused with an error, and that is all right
        with watched(trt, config):
            serialized = builder.build_serialized_network(network, config)
        if serialized is None:
            raise _failure(f"build {source}", logger, "see the message, and try another --level")
        return bytes(serialized), None if cache is None else bytes(cache.serialize())


def _timing_cache(config: Any, path: Path) -> Any:  # noqa: ANN401
    """The timing cache kept from earlier builds, or an empty one where there is none or TensorRT refuses it."""
    for content in (path.read_bytes() if path.is_file() else b"", b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _failure(what: str, log: MessageLog, remedy: str) -> InputError:
    """One line: the first error names the layer, what follows is its echo."""
    found = log.errors[0] if log.errors else log.warning
    if any("memory" in line.lower() for line in log.errors):
        remedy = "free GPU memory, or lower --level"
    return InputError(f"expected TensorRT to {what}, found: {found}; {remedy}")
