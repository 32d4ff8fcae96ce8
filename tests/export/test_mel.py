"""The log-mel convolutions against NeMo's preprocessor and against float64.

NeMo's FP32 FFT is itself up to 2e-4 from float64 in quiet bands of speech and 1e-5 on noise, so ours stays within 1e-5 of NeMo's
only beyond that: noise allows NeMo's own distance on top, and on speech ours must be the closer to float64.
"""

import numpy as np
import pytest
import torch

from export.checkpoint import Checkpoint
from export.graph import GraphBuilder
from export.mel import MelFrontEnd
from runtime.backends.onnxruntime import open_session

pytestmark = pytest.mark.nemo


def in_graph(mel: MelFrontEnd, audio: np.ndarray) -> np.ndarray:
    """[frames, mel] by the exported nodes in onnxruntime, over a whole utterance."""
    taps, frames = len(mel.window), len(audio) // mel.hop_samples
    # As the runtime feeds it: silence before, x[n] = a x[n-1] after.
    tail = audio[-1] * mel.preemphasis ** np.arange(1, taps, dtype=np.float32)
    padded = np.concatenate([np.zeros(taps // 2 + 1, np.float32), audio, tail])[
        : 1 + (frames - 1) * mel.hop_samples + taps
    ]
    graph = GraphBuilder(np.float32)
    source = graph.input("audio", np.float32, [1, len(padded)])
    graph.output("mel", mel.add_to(graph, source, len(padded)), np.float32, [len(mel.filterbank), 1, frames])
    session = open_session(graph.model("mel").SerializeToString(), "onnxruntime-cpu")
    found: np.ndarray = session.run(None, {"audio": padded[None]})[0]
    return found[:, 0].T


def in_nemo(checkpoint: Checkpoint, audio: np.ndarray) -> np.ndarray:
    """[frames, mel] by NeMo's preprocessor."""
    with torch.inference_mode():
        features, _ = checkpoint.preprocessor(
            input_signal=torch.from_numpy(audio)[None], length=torch.tensor([len(audio)])
        )
    found: np.ndarray = features[0, :, : len(audio) // checkpoint.mel.hop_samples].T.numpy()
    return found


def in_float64(mel: MelFrontEnd, audio: np.ndarray) -> np.ndarray:
    """[frames, mel] by numpy's FFT in float64, step by step."""
    taps, n_fft = len(mel.window), 2 * (mel.filterbank.shape[1] - 1)
    signal = audio.astype(np.float64)
    signal[1:] -= mel.preemphasis * audio[:-1].astype(np.float64)
    signal = np.pad(signal, (taps // 2, taps))
    starts = np.arange(len(audio) // mel.hop_samples) * mel.hop_samples
    frames = signal[starts[:, None] + np.arange(taps)] * mel.window
    power = np.abs(np.fft.rfft(frames, n_fft)) ** 2
    found: np.ndarray = np.log(power @ mel.filterbank.T + mel.log_guard)
    return found


@pytest.mark.parametrize("samples", [1_600, 16_039, 16_040, 80_001])
def test_noise_against_nemo(checkpoint: Checkpoint, samples: int) -> None:
    audio = (np.random.default_rng(samples).standard_normal(samples) * 0.1).astype(np.float32)
    ours, nemo, exact = in_graph(checkpoint.mel, audio), in_nemo(checkpoint, audio), in_float64(checkpoint.mel, audio)
    difference, ours_off, nemo_off = (float(np.abs(each).max()) for each in (ours - nemo, ours - exact, nemo - exact))
    print(
        f"{samples} samples of noise: {difference:.1e} from NeMo; from float64 ours {ours_off:.1e}, NeMo's {nemo_off:.1e}"
    )
    assert ours_off <= 1e-5
    assert difference <= 1e-5 + nemo_off


def test_speech_is_closer_to_float64_than_nemo_is(checkpoint: Checkpoint, sample: list[tuple[str, np.ndarray]]) -> None:
    ours = nemo = 0.0
    for _, audio in sample:
        exact = in_float64(checkpoint.mel, audio)
        ours = max(ours, float(np.abs(in_graph(checkpoint.mel, audio) - exact).max()))
        nemo = max(nemo, float(np.abs(in_nemo(checkpoint, audio) - exact).max()))
    print(f"log-mel of speech against float64: ours within {ours:.1e}, NeMo's within {nemo:.1e}")
    assert ours <= nemo
    assert ours <= 1e-4


def test_silence_is_the_guard(checkpoint: Checkpoint) -> None:
    assert in_graph(checkpoint.mel, np.zeros(3_200, np.float32)) == pytest.approx(np.log(2.0**-24), abs=1e-5)
