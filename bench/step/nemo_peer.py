"""NeMo's own streaming encoder in PyTorch, eager or in one captured CUDA graph: the ladder's first variants.

Imports torch and NeMo's encoder alone, so that any interpreter with torch runs it: a bare one gets the encoder's files on PYTHONPATH.
Weights are random, which the time does not depend on. Mel, CTC head and the copies from and to the host are not in the step.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from nemo.collections.asr.modules.conformer_encoder import ConformerEncoder

from bench.step.timing import COPY_BYTES, StepMeasurement, Variant, copy_bandwidth, time_steps

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class Peer:
    """The encoder on streams of noise, their caches fed back: `eager` and `fixed` are a step of all of them each."""

    def __init__(
        self, config: dict[str, Any], lookahead_frames: int, dtype: torch.dtype, device: str, streams: int = 1
    ) -> None:
        """`config`: the encoder's part of a NeMo model's configuration."""
        torch.manual_seed(0)
        self.encoder = ConformerEncoder(**{key: value for key, value in config.items() if key != "_target_"}).eval()
        contexts = config["att_context_size"]
        left = contexts[0] if isinstance(contexts[0], int) else contexts[0][0]
        self.encoder.set_default_att_context_size([left, lookahead_frames])
        self.encoder.setup_streaming_params()
        self.encoder.to(device, dtype)
        streaming = self.encoder.streaming_cfg
        frames = _steady(streaming.chunk_size) + _steady(streaming.pre_encode_cache_size)
        self._mel = torch.randn(streams, config["feat_in"], frames, device=device, dtype=dtype)
        self._length = torch.full((streams,), frames, device=device)
        self._dropped = streaming.drop_extra_pre_encoded
        self.caches = list(self.encoder.get_initial_cache_state(batch_size=streams, dtype=dtype, device=device))

    def eager(self) -> torch.Tensor:
        """One step; returns the encoded frames [streams, D, T]. The next step reads the caches where this one left them."""
        encoded, self.caches = self._step()
        return encoded

    def fixed(self) -> torch.Tensor:
        """One step at fixed addresses, as a graph needs it: the new caches are copied to where the next step reads them."""
        encoded, following = self._step()
        for cache, new in zip(self.caches, following):  # noqa: B905 -- same length by NeMo's interface
            cache.copy_(new)
        return encoded

    def _step(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        channel, time_, length = self.caches
        encoded, _, *following = self.encoder.cache_aware_stream_step(
            processed_signal=self._mel,
            processed_signal_length=self._length,
            cache_last_channel=channel,
            cache_last_time=time_,
            cache_last_channel_len=length,
            keep_all_outputs=False,
            drop_extra_pre_encoded=self._dropped,
        )
        return encoded, following


def captured(work: Callable[[], object]) -> Callable[[], None]:
    """A CUDA graph's replay of `work`, which runs first: what PyTorch puts off to a first run may not be in a capture."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Callable[[], None] = graph.replay
    return replay


def kernels(step: Callable[[], object]) -> int | None:
    """Kernels that one step launches, as PyTorch's profiler sees them; None where it sees none."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
    on_gpu = [event.name for event in profile.events() if event.device_type.name == "CUDA"]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in on_gpu) or None


def gpu_bandwidth() -> float:
    """Return the bytes read and written per second by large copies within the GPU's memory."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return copy_bandwidth(lambda: target.copy_(source), torch.cuda.synchronize)


def run(variant: Variant) -> None:
    """Measure and print it."""
    on_gpu = variant.device == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode():
        dtype, device = DTYPES[variant.precision], variant.device
        peer = Peer(variant.encoder or {}, variant.lookahead_frames, dtype, device, variant.streams)
        work = captured(peer.fixed) if variant.graph else peer.eager

        def step(_index: int = 0) -> None:
            work()
            if on_gpu:
                torch.cuda.synchronize()

        timed = time_steps(step, variant.steps, variant.chunk_s, variant.paced)
        measured = StepMeasurement(
            **timed,
            engine=f"torch {torch.__version__}",
            cuda_graph=variant.graph if on_gpu else None,
            launches_per_step=kernels(step) if on_gpu else None,
            weights_bytes=sum(weight.nbytes for weight in peer.encoder.parameters()),
            copy_bandwidth=gpu_bandwidth() if on_gpu else None,
        )
    print(json.dumps(asdict(measured)))


def _steady(size: int | list[int]) -> int:
    """NeMo's sizes are [of the first step, of every other] or one for all."""
    return size if isinstance(size, int) else size[-1]


if __name__ == "__main__":
    try:
        run(Variant(**json.loads(sys.argv[1])))
    except Exception as error:  # noqa: BLE001 -- whatever torch raises, often over several lines, is one line for the ladder
        sys.exit(f"error: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
