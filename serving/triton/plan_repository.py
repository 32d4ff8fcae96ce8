"""A Triton model repository of a plan: the step with its state kept by the server, and the greedy decoder as a model of its own.

Source: Triton's user guide, `implicit_state_management`. The tests load it in a real server, with a Python model in the plan's place.

The batch dimension is static (1) in the plan, so max_batch_size is 0 and every shape below is whole. No ensemble: one would put the
decoder between the step and its client at every chunk and hand on the frames of a flush that count for nothing; the client calls both.
"""

import shutil
from pathlib import Path

from runtime import words
from runtime.bundle import MANIFEST, read_bundle
from runtime.decoders import greedy, transcript
from runtime.entries import STATE, StepEntry, TensorSpec
from runtime.errors import InputError
from runtime.files import sha256, written_whole
from runtime.stamp import check_stamp, plan_path, read_stamp
from runtime.word_models import known_words, word_model
from serving.triton.repository import IDLE_S, README, check_place, controls, sequences

TYPES = {"float32": "FP32", "float16": "FP16", "int32": "INT32"}  # Triton's names
POOL_MB = 64
"""Triton's own `--cuda-memory-pool-byte-size`, in MiB."""
STATES = 4
"""Times that the state is held: a sequence's, what a step reads and writes, and the zeros that it begins with."""


def step_model(bundle_folder: Path) -> str:
    """Name of the step's model."""
    return f"{bundle_folder.absolute().name}_step"


def decoder_model(bundle_folder: Path) -> str:
    """Name of the decoder's model."""
    return f"{bundle_folder.absolute().name}_decoder"


def pool_bytes(step: StepEntry) -> int:
    """What `--cuda-memory-pool-byte-size` has to be for the state of one sequence, where it is more than Triton's own."""
    return max(POOL_MB << 20, STATES * step.state_bytes)


def write_plan_repository(bundle_folder: Path, precision: str, out: Path) -> int:
    """Write the repository `out`, whole or not at all, replacing what it held; return the server's memory pool, in bytes.

    Raises InputError for a bundle or plan that is missing, broken or not of one another, a bundle without a CTC head, and for an `out`
    that is there and not this bundle's repository.
    """
    bundle = read_bundle(bundle_folder)
    bundle.check_ctc("Triton's greedy decoder")
    step = bundle.step(precision)
    plan = plan_path(bundle_folder, precision)
    stamp = read_stamp(plan)
    check_stamp(stamp, plan, step, precision, stamp.platform)  # the README names it: the server's is not known here
    check_place(out, {step_model(bundle_folder), decoder_model(bundle_folder)})
    with written_whole(out) as partial:
        version = partial / step_model(bundle_folder) / "1"
        version.mkdir(parents=True)
        shutil.copyfile(plan, version / "model.plan")
        if sha256(version / "model.plan") != stamp.plan_sha256:
            raise InputError(f"expected {plan} to stay as it was, found it changed while it was copied; try again")
        (version.parent / "config.pbtxt").write_text(step_config(step_model(bundle_folder), step), encoding="utf-8")
        write_decoder(bundle_folder, partial)
        (partial / README).write_text(
            f"For TensorRT {stamp.tensorrt} on {stamp.gpu} (compute capability {stamp.compute_capability}): a plan runs on no "
            f"other.\nThe batch dimension of 1 is in the plan, so `max_batch_size` is 0: one sequence at a time, others wait.\n"
            f"The project's tests run it on a real server with a Python model in the plan's place.\n",
            encoding="utf-8",
        )
    return pool_bytes(step)


def write_decoder(bundle_folder: Path, out: Path) -> None:
    """Write the decoder's model into the repository `out`: model.py, what it imports of the runtime, vocabulary, words' model and list."""
    version = out / decoder_model(bundle_folder) / "1"
    decoders = version / "runtime" / "decoders"
    decoders.mkdir(parents=True)
    for module in (greedy, transcript):
        shutil.copy(str(module.__file__), decoders)
    shutil.copy(str(words.__file__), decoders.parent)
    bundle = read_bundle(bundle_folder)
    model, known = word_model(bundle_folder, bundle, "ctc"), known_words(bundle_folder, bundle)
    (version / "words.json").write_text(model.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (version / "known_words.txt").write_text("\n".join(sorted(known)), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("decoder_model.py"), version / "model.py")
    shutil.copyfile(bundle_folder / MANIFEST, version / MANIFEST)
    (version.parent / "config.pbtxt").write_text(decoder_config(decoder_model(bundle_folder)), encoding="utf-8")


def step_config(name: str, step: StepEntry) -> str:
    """config.pbtxt of the step: inputs audio and valid, the state zero at a sequence's start, one instance in CUDA graphs."""
    inputs = [f'input {{ name: "{spec.name}" {_type(spec)} }}\n' for spec in step.inputs if spec.name not in STATE]
    # Encoded is listed though no client asks for it: TensorRT must be given an address for each output.
    outputs = [
        f'output {{ name: "{spec.name}" {_type(spec)} }}\n' for spec in step.outputs if spec.name in step.results
    ]
    kinds = {name: _type(step.input(name)) for name in STATE}
    states = [
        f'  state {{ input_name: "{name}" output_name: "next_{name}" {kind} '
        f'initial_state {{ name: "zero" {kind} zero_data: true }} }}\n'
        for name, kind in kinds.items()
    ]
    return (
        f'name: "{name}"\nplatform: "tensorrt_plan"\nmax_batch_size: 0\n{"".join([*inputs, *outputs])}{_sequences(states)}'
        "instance_group { count: 1 kind: KIND_GPU gpus: 0 }\noptimization { cuda { graphs: true } }\n"
    )


def decoder_config(name: str) -> str:
    """config.pbtxt of the decoder: best tokens [frames] and their log-probabilities in; the utterance's text, token ids [n], words out.

    The words are JSON, a list of what runtime.words.Word has, with times from the utterance's start.
    """
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: 0\n'
        'input { name: "tokens" data_type: TYPE_INT32 dims: [ -1 ] }\n'
        'input { name: "best_log_probs" data_type: TYPE_FP32 dims: [ -1 ] }\n'
        'output { name: "text" data_type: TYPE_STRING dims: [ 1 ] }\n'
        'output { name: "token_ids" data_type: TYPE_INT32 dims: [ -1 ] }\n'
        'output { name: "words" data_type: TYPE_STRING dims: [ 1 ] }\n'
        f"{_sequences(controls('START', 'END', 'CORRID'))}instance_group {{ count: 1 kind: KIND_CPU }}\n"
    )


def _sequences(lines: list[str]) -> str:
    return sequences(IDLE_S, "direct { }", lines)  # a sequence has the one instance until it ends


def _type(spec: TensorSpec) -> str:
    return f"data_type: TYPE_{TYPES[spec.dtype]} dims: [ {', '.join(map(str, spec.shape))} ]"
