"""Optimisation profiles of the step over many streams: which numbers of streams a plan runs, and how many its kernels are chosen for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any


def add_profiles(
    trt: Any,  # noqa: ANN401 -- TensorRT's
    builder: Any,  # noqa: ANN401
    config: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    sizes: Sequence[int],
) -> None:
    """Add a profile for each size, whose kernels are chosen for it; it runs fewer streams too, down to the size before.

    So every number of streams has one profile. It is a range where it can be: for a single number TensorRT-RTX takes the batch for
    static and stores constants once for each stream, 59 MB more of a plan for 64 streams of the 13 M model.
    """
    # One profile runs several numbers of streams, and each that is captured needs a context of its own. In 8.6 two contexts may share a
    # profile only where this is asked for; in 10 they always may, and 11 no longer has the name.
    sharing = getattr(trt.PreviewFeature, "PROFILE_SHARING_0806", None)
    if sizes and sharing is not None and not config.get_preview_feature(sharing):
        config.set_preview_feature(sharing, True)
    for below, size in pairwise((0, *sizes)):
        profile = builder.create_optimization_profile()
        for tensor in (network.get_input(index) for index in range(network.num_inputs)):
            least, most = ((streams, *tuple(tensor.shape)[1:]) for streams in (below + 1, size))
            profile.set_shape(tensor.name, least, most, most)
        config.add_optimization_profile(profile)
