"""A whole training step captured as a CUDA graph, to be replayed without Python and launches.

The graph has its own pool of memory: gradients and all that lives within a step lie there, and
nowhere else are they known. Left out: what a step does (:mod:`nas.training.step`).
"""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from nas.training.device_queue import DeviceQueue
from nas.training.failures import is_out_of_memory
from nas.training.step import EpochStep

WARM_UP_STEPS = 2
"""Eager steps before the capture: kernels are loaded, and their plans chosen and cached."""


class StepGraph:
    """A captured :class:`EpochStep`: ``replay()`` does what calling it does.

    ``generator`` (of dropout's masks) is on the queue's device; None where nothing is drawn.
    After the constructor everything is as before it: the warm-up's changes are put back in place.

    Raises:
        torch.OutOfMemoryError: the step does not fit; other graphs are untouched.
    """

    def __init__(
        self, step: EpochStep, queue: DeviceQueue, generator: torch.Generator | None
    ) -> None:
        self._queue = queue
        with queue.active():
            warm_up(step)
            graph = _capture_if_it_fits(step, generator)
            if graph is None:
                # While it captures, the allocator may not free what it keeps for reuse.
                step.drop_gradients()
                queue.drain()
                torch.cuda.empty_cache()
                graph = _capture(step, generator)
            self._graph = graph

    def replay(self) -> None:
        """Queue one step."""
        with self._queue.active():
            self._graph.replay()

    def close(self) -> None:
        """Free the graph; its memory follows when no gradient in it is referred to."""
        self._queue.drain()
        self._graph.reset()


def warm_up(step: EpochStep) -> None:
    """Make some steps and put back, in place, all that they changed."""
    changed = step.changed_tensors()
    saved = [item.clone() for item in changed]
    for _ in range(WARM_UP_STEPS):
        step()
        # An epoch may have a single step.
        step.epoch.step.zero_()
    _put_back(changed, saved)
    # The captured step's gradients must be made, in its pool, by the captured step.
    step.drop_gradients()


def _put_back(changed: list[Tensor], saved: list[Tensor]) -> None:
    for item, before in zip(changed, saved, strict=True):
        item.copy_(before)


def _capture_if_it_fits(
    step: EpochStep, generator: torch.Generator | None
) -> torch.cuda.CUDAGraph | None:
    """None where memory was too small; all that the capture took is free again then.

    Not so in the handler: the error's traceback holds every tensor of the step, and the graph.
    """
    try:
        return _capture(step, generator)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return None


def _capture(step: EpochStep, generator: torch.Generator | None) -> torch.cuda.CUDAGraph:
    """Capture on the current stream.

    Not by the context torch.cuda.graph: that waits for the whole device and empties the
    allocator's cache first, which would hold up the other trainings on the device.
    """
    graph = torch.cuda.CUDAGraph()
    if generator is not None:
        graph.register_generator_state(generator)
    # Other threads (a data loader's, say) may go on allocating.
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        step()
    except BaseException:
        # The capture must end, and what ended it is the error to tell, not that it is broken.
        with suppress(RuntimeError):
            graph.capture_end()
        raise
    graph.capture_end()
    return graph
