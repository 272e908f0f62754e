"""The one thread that uses the device of a draft."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class DeviceThread:
    """Runs what is asked of it in order, and work ahead for as long as nothing else is asked."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="slipstream-draft")
        self._ahead: Iterator[None] | None = None

    def submit(
        self,
        run: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Future[Result]:
        """Run this next; work ahead ends with the step under way."""
        self.end_work_ahead()
        return self._executor.submit(run, *args, **kwargs)

    def work_ahead(self, steps: Iterator[None]) -> None:
        """Take these steps, instead of those of other work ahead, until something else is asked."""
        self._ahead = steps
        self._executor.submit(self._take, steps)

    def end_work_ahead(self) -> None:
        """End work ahead with the step under way."""
        self._ahead = None

    def close(self) -> None:
        """Wait for the step under way, and end."""
        self.end_work_ahead()
        self._executor.shutdown(cancel_futures=True)

    def _take(self, steps: Iterator[None]) -> None:
        while self._ahead is steps:
            try:
                next(steps)
            except StopIteration:
                return
