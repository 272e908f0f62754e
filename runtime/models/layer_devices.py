"""Which device computes each layer of a model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from slipstream.runtime.backends import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDevices:
    """A backend for each layer, and one for the final norm and the output matrix.

    Takes a `Backend`'s place where a model is loaded and run: a step's hidden states cross to
    another device where two layers that follow one another have different ones.
    """

    layers: tuple[Backend, ...]
    head: Backend

    def of_layer(self, layer_id: int) -> Backend:
        return self.layers[layer_id]

    @property
    def of_head(self) -> Backend:
        return self.head

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All that compute a part of the model, each once."""
        return tuple(dict.fromkeys((*self.layers, self.head)))

    @contextmanager
    def computing(self, num_threads: int) -> Iterator[None]:
        """As `Backend.computing`, of those in host memory.

        A device with memory of its own does what it is given in order, so that the model which
        drafts may use it while this one has its layers on the CPU.
        """
        backends = {each.device: each for each in self.backends if each.ops.IN_HOST_MEMORY}
        with ExitStack() as stack:
            for device in sorted(backends):  # in one order, so that no two models block each other
                stack.enter_context(backends[device].computing(num_threads))
            yield


Devices = Backend | LayerDevices
