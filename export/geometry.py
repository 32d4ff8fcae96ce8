"""Which samples, mel frames and encoder frames one streaming step sees: all of it follows from the look-ahead."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Geometry:
    """One step of a causal stride-2 convolutional front end and a chunked attention mask.

    A chunk is `lookahead_frames` + 1 encoder frames. Encoder frame j needs mel frames 8j-14 .. 8j (NeMo's causal_downsampling
    with three convolutions of kernel 3), mel frame t needs samples 160t-201 .. 160t+199 (window 400, centred, one more for the
    pre-emphasis), so a step is fed a window of samples that overlaps the previous one and keeps no audio or mel state.
    """

    lookahead_frames: int
    """Encoder frames of look-ahead, R: att_context_size[1]."""
    left_context_frames: int
    """Encoder frames before the chunk that attention sees; NeMo insists on a multiple of the chunk."""
    stages: int = 3
    """Stride-2 convolutions of the subsampling."""
    hop_samples: int = 160
    """Samples between mel frames."""
    fft_window_samples: int = 400
    """Samples under the analysis window."""

    @property
    def chunk_frames(self) -> int:
        """Encoder frames out per step."""
        return self.lookahead_frames + 1

    @property
    def subsampling(self) -> int:
        """Mel frames per encoder frame."""
        return 1 << self.stages

    @property
    def chunk_samples(self) -> int:
        """New samples per step."""
        return self.chunk_frames * self.subsampling * self.hop_samples

    def history(self, stage: int) -> int:
        """Frames before the chunk that the step holds after `stage` of the stride-2 convolutions (0: mel frames)."""
        return 2 * ((1 << self.stages - stage) - 1)

    def stage_frames(self, stage: int) -> int:
        """All frames that the step holds after `stage` of the stride-2 convolutions."""
        return self.history(stage) + (self.lookahead_frames << self.stages - stage) + 1

    @property
    def mel_frames(self) -> int:
        """Mel frames computed per step."""
        return self.stage_frames(0)

    @property
    def window_samples(self) -> int:
        """Samples fed per step: one before the first mel frame's, for the pre-emphasis, up to the last mel frame's."""
        return 1 + (self.mel_frames - 1) * self.hop_samples + self.fft_window_samples

    @property
    def first_step_samples(self) -> int:
        """Samples of an utterance that must have arrived before its first step can run."""
        return self.subsampling * self.lookahead_frames * self.hop_samples + self.fft_window_samples // 2

    def visible(self) -> tuple[Positions, Positions, list[int]]:
        """Bounds that decide which positions exist, for every masked tensor of the step in one vector: int32 [N], int32 [N], sizes.

        The vector joins the inputs of the stride-2 convolutions and the attention keys. With `length` encoder frames before the
        chunk (at most the cache's) and `valid` mel frames from the chunk's start to the end of the audio, a position exists where
        begin >= -subsampling * length and end <= valid. This reproduces NeMo's length masks: stage lengths n -> n // 2 + 1.
        """
        begins, ends, sizes = [], [], []
        for stage in range(self.stages):
            relative = np.arange(self.stage_frames(stage), dtype=np.int32) - self.history(stage)
            begins.append(relative << stage)
            ends.append(self._frames_needed(relative, stage))
            sizes.append(len(relative))
        keys = np.arange(-self.left_context_frames, self.chunk_frames, dtype=np.int32)
        begins.append(keys << self.stages)
        ends.append(self._frames_needed(keys, self.stages))
        return np.concatenate(begins), np.concatenate(ends), [*sizes, len(keys)]

    @staticmethod
    def _frames_needed(relative: Positions, stage: int) -> Positions:
        """Mel frames there must be from the chunk's start for a position of `stage` to exist."""
        for _ in range(stage):
            relative = 2 * relative - 1  # r < n // 2 + 1  <=>  2r - 1 < n
        return relative + 1
