"""Which products cost accuracy in INT8: one group at a time, and the fall-back list to FP16 that this asks for.

What is measured is the log-probabilities' error against FP32's over calibration speech, streamed. What is asked for is a bound on
WER, which so little speech cannot show: of 2,000 words, the words that a harmless step gets wrong and FP32 gets right, and the other way
round, decide tenths of a point. Frames whose best token is another are counted instead. Over this project's methods and fall-back lists
1 % of the frames changed came with about 1 % of the words gone wrong or right (CHANGED below), so that 1 % of the frames is 20 words of
2,000; come and gone by chance, their sum is within +- 1.96 * sqrt(20) = 9 words, 0.44 points of WER, 19 times of 20.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx

from calibration.compare import Heard, Samples, StepError, hear, step_error
from calibration.placement import QUANTISED, quantised_products
from calibration.quantise import quantised

CHANGED = 0.01  # share of frames: the bound
