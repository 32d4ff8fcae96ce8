"""A Triton model repository of a bundle: one Python model with the project's own runtime inside, whole and self-contained.

Source: Triton's user guide, `ragged_batching` and `architecture` (stateful models, the oldest strategy). The tests serve it with a real
server.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import runtime
import serving
from runtime.backends import check_number, default_backend, default_precision
from runtime.bundle import ADDED, MANIFEST, Graph, read_bundle
from runtime.errors import InputError
from runtime.files import carry, written_whole
from runtime.recognizer import choose_decoder
from runtime.stamp import check_stamp, plan_path, read_stamp

IDLE_S = 15.0
"""Seconds without a request after which a sequence is forgotten: a client that hears somebody sends audio all the time."""
README = "README.md"


@dataclass(frozen=True)
class Served:
    """How a bundle is served. Raises InputError for what cannot be."""

    max_streams: int = 64
    """Conversations at once; the next one waits. See docs/serving.md for how many a machine holds."""
    idle_s: float = IDLE_S
    """Seconds without a request after which a sequence is forgotten, and its place given to the next."""
    precision: str | None = None
    """fp32 or fp16, with RNN-T also int8; None: the backend's usual one."""
    backend: str | None = None
    """As Recognizer has it; None: this machine's best."""
    lm: str = "default"
    """`default` for the bundle's language model, or `none`."""
    decoder: str | None = None
    """ctc, whose steps of many streams run together, or rnnt, whose streams run apart; None: ctc where the bundle has it."""

    def __post_init__(self) -> None:
        check_number(self.max_streams)
        if not 1 <= self.idle_s <= 3600:
            raise InputError(f"expected an idle time from 1 to 3600 s, found {self.idle_s:g}; {IDLE_S:g} is usual")


def model_name(bundle_folder: Path) -> str:
    """Name of the model that recognises with a bundle."""
    return bundle_folder.absolute().name


def write_repository(bundle_folder: Path, served: Served, out: Path) -> None:
    """Write the repository `out`, whole or not at all, replacing what it held.

    Raises InputError for a bundle that is broken, lacks the decoder or, for CTC, the step over many streams, for a plan of it that is
    missing or broken where TensorRT is to run it, and for an `out` that is there and not this bundle's repository.
    """
    bundle = read_bundle(bundle_folder)
    decoder = choose_decoder(bundle, served.decoder, served.lm, best=False)
    backend = served.backend or default_backend()
    precision = served.precision or default_precision(backend, bundle)
    graphs: tuple[Graph, ...] = ("batched",) if decoder == "ctc" else ("step", "rnnt")
    for graph in graphs:
        own, entry = bundle.graph(precision, graph)
        if backend == "tensorrt":
            plan = plan_path(bundle_folder, own, graph)
            stamp = read_stamp(plan)
            check_stamp(stamp, plan, entry, own, stamp.platform)  # the server's is not known here; the model checks it
    name = model_name(bundle_folder)
    check_place(out, {name})
    parameters = {
        "sample_rate": str(bundle.sample_rate),
        "max_streams": str(served.max_streams),
        "idle_s": f"{served.idle_s:g}",
        "backend": backend,
        "precision": precision,
        "lm": served.lm,
        "decoder": decoder,
    }
    with written_whole(out) as partial:
        version = partial / name / "1"
        version.mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("model.py"), version / "model.py")
        shutil.copytree(
            Path(runtime.__file__).parent, version / "runtime", ignore=shutil.ignore_patterns("__pycache__")
        )
        (version / "serving").mkdir()
        for file in ("__init__.py", "options.py"):
            shutil.copyfile(Path(serving.__file__).with_name(file), version / "serving" / file)
        (version / "bundle").mkdir()
        for file in dict.fromkeys([MANIFEST, *(entry.file for entry in bundle.files), *ADDED]):
            carry(bundle_folder / file, version / "bundle" / file)
        (version.parent / "config.pbtxt").write_text(recognizer_config(name, parameters), encoding="utf-8")


def recognizer_config(name: str, parameters: dict[str, str]) -> str:
    """config.pbtxt of the model.

    In, all optional: audio FP32 or pcm INT16, samples [n] of any number, and options, JSON of serving.options.Options, at START.
    Out: events, a JSON list of what runtime.events say. Requests of several sequences come together, each of its own length.
    """
    inputs = [("audio", "FP32", -1), ("pcm", "INT16", -1), ("options", "STRING", 1)]
    most = parameters["max_streams"]
    return (
        f'name: {json.dumps(name)}\nbackend: "python"\nmax_batch_size: {most}\n'
        + "".join(
            f'input {{ name: "{each}" data_type: TYPE_{kind} dims: [ {length} ] optional: true allow_ragged_batch: true }}\n'
            for each, kind, length in inputs
        )
        + 'output { name: "events" data_type: TYPE_STRING dims: [ 1 ] }\n'
        + sequences(
            float(parameters["idle_s"]),
            f"oldest {{ max_candidate_sequences: {most} }}",
            controls("START", "END", "CORRID"),
        )
        + "instance_group { count: 1 kind: KIND_CPU }\n"  # the runtime finds its GPU by itself
        + written_parameters(parameters)
    )


def sequences(idle_s: float, strategy: str, lines: Iterable[str]) -> str:
    """The part of a configuration about sequences."""
    return f"sequence_batching {{\n  max_sequence_idle_microseconds: {round(1e6 * idle_s)}\n  {strategy}\n{''.join(lines)}}}\n"


def controls(*names: str) -> list[str]:
    """Inputs that tell a model of a request's sequence: its START, its END or its CORRID."""
    kinds = {name: "data_type: TYPE_UINT64" if name == "CORRID" else "int32_false_true: [ 0, 1 ]" for name in names}
    return [
        f'  control_input {{ name: "{name}" control {{ kind: CONTROL_SEQUENCE_{name} {kinds[name]} }} }}\n'
        for name in names
    ]


def written_parameters(parameters: dict[str, str]) -> str:
    """The part of a configuration that the model and its clients read."""
    return "".join(
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}\n'
        for key, value in parameters.items()
    )


def check_place(out: Path, models: set[str]) -> None:
    """Raise InputError unless `out` is absent, empty, or holds these models and nothing of anybody else's, which would be lost."""
    if out.exists():
        held = {path.name for path in out.iterdir()} if out.is_dir() else {""}
        if held and not models <= held <= {*models, README}:
            raise InputError(
                f"expected {out} to be absent or the model repository of this bundle, found something else; name another --out"
            )
