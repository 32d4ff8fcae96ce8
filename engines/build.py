"""Building a plan: parse the bundle's step, build it, write the plan whole and its stamp last."""

import re
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from engines.precision import set_flags, with_fp32_scales
from engines.progress import Interrupt, MessageLog, make_logger, shown
from engines.sums import products_as_sums
from engines.target import Target
from engines.versions import configure, network_flags, strongly_typed
from export import placement, quantise
from runtime.bundle import Graph, Precision, checked_file, read_bundle
from runtime.errors import InputError
from runtime.files import sha256, sources_hash, written_whole
from runtime.stamp import Stamp, check_stamp, read_stamp, stamp_path

Products = Literal["matrix", "sum"]

TIMING = Path("build/timing")  # kernels' times are this machine's, not a bundle's
SOURCES = (
    *(Path(__file__).with_name(name) for name in ("precision.py", "sums.py", "versions.py")),
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

    def recorded(self, target: Target) -> dict[str, str | int | bool]:
        """The stamp's options, with the hash of what rewrites the graph and configures the builder."""
        return {"library": str(target.trt.__name__), **asdict(self), "sources": sources_hash(SOURCES)}


def is_current(  # noqa: PLR0917
    plan: Path, folder: Path, precision: Precision, target: Target, options: BuildOptions, graph: Graph = "step"
) -> bool:
    """Whether `plan` is whole and was built from this bundle for this target with these options."""
    try:
        stamp = read_stamp(plan)
        own, entry = read_bundle(folder).graph(precision, graph)
        check_stamp(stamp, plan, entry, own, target.platform)
    except InputError:
        return False
    return stamp.options == options.recorded(target)


def build_plan(  # noqa: PLR0917
    plan: Path, folder: Path, precision: Precision, target: Target, options: BuildOptions, graph: Graph = "step"
) -> None:
    """Build the bundle's step of `precision`, or the evaluation that goes with it, into `plan` and write its stamp.

    The timing cache is kept in TIMING.

    Raises InputError, and writes nothing, for a bundle that is not whole, a graph that TensorRT does not parse or a build
    that fails; raises KeyboardInterrupt, and writes nothing, after Ctrl-C.
    """
    bundle = read_bundle(folder)
    own, entry = bundle.graph(precision, graph)
    source = checked_file(folder, entry)
    flagged = not strongly_typed(target.trt)
    content = with_fp32_scales(folder, bundle) if flagged and own == "int8" else source.read_bytes()
    if options.products == "sum":
        content = products_as_sums(content)
    timing = TIMING / f"{re.sub(r'[^A-Za-z0-9.]+', '-', target.gpu)}-{target.platform.tensorrt}.cache"
    started = time.perf_counter()
    serialized, cache = _build(source, content, own if flagged else None, target, options, timing)
    built = time.perf_counter() - started
    with written_whole(plan) as partial:
        partial.write_bytes(serialized)
        stamp_path(plan).unlink(missing_ok=True)  # a plan without a stamp is never read
    stamp = Stamp(
        step_sha256=entry.sha256,
        precision=own,
        plan_sha256=sha256(plan),
        **target.platform._asdict(),
        options=options.recorded(target),
        weights_typed="flags" if flagged else "strong",
        build_s=round(built, 1),
        created=datetime.now(timezone.utc).date().isoformat(),
    )
    stamp.write(stamp_path(plan))
    if cache is not None:
        with written_whole(timing) as partial:
            partial.write_bytes(cache)


def _build(  # noqa: PLR0917
    source: Path, content: bytes, flagged: Precision | None, target: Target, options: BuildOptions, timing: Path
) -> tuple[bytes, bytes | None]:
    """The serialized engine, and the timing cache where there is one. `flagged`: the precision, where flags say it."""
    trt = target.trt
    logger = make_logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # what the bindings raise for a null builder
        raise _failure("start its builder", logger, "check nvidia-smi and the driver") from error
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)  # it owns the weights: kept until the build is done
    if not parser.parse(content):
        logger.errors[:0] = [" ".join(str(parser.get_error(index)).split()) for index in range(parser.num_errors)]
        raise _failure(f"parse {source}", logger, "make the bundle again with `make export`")
    config = builder.create_builder_config()
    configure(target, config, options.level, options.cublas)
    if flagged:
        set_flags(trt, config, network, flagged)
    cache = None if target.offline else _timing_cache(config, timing)  # RTX asks a GPU as soon as it has one
    logger.errors.clear()  # a cache of another driver is refused with an error, and that is all right
    with Interrupt() as interrupt, shown(trt, config, interrupt):
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
