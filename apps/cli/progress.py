"""Progress of slow work on standard error: bars on a terminal, a few lines elsewhere."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from slipstream.apps.cli.console import say
from slipstream.offload.units import format_bytes
from slipstream.runtime.catalogue import Progress as PullEvent

PATIENCE_S = 1.0  # loading that is quicker than this shows no bar
LINE_PATIENCE_S = 4.0  # nor a line where there is no terminal: a log has no use for a short wait
LINE_SHARE = 0.25  # of a download, between two lines where there is no terminal


class LoadProgress:
    """Shows the stages of loading when it takes long; call it with (stage, done, total)."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        if console.is_terminal:
            self._timer = threading.Timer(PATIENCE_S, self._bar.start)
        else:
            self._timer = threading.Timer(LINE_PATIENCE_S, self._name_stage)
        self._timer.daemon = True

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        if self._bar.live.is_started:
            self._bar.stop()

    def _name_stage(self) -> None:
        for task in self._bar.tasks[-1:]:
            say(f"{task.description} ...")


class PullProgress:
    """Shows the licence and the bytes of a pull; call it with each event."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("downloading", total=None, start=False)
        self._stage = ""
        self._next_line_bytes = 0.0

    def __call__(self, event: PullEvent) -> None:
        if event.stage == "found":
            self._introduce(event)
        elif self._console.is_terminal:
            self._draw(event)
        else:
            self._list(event)
        self._stage = event.stage

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def _introduce(self, event: PullEvent) -> None:
        say(f"pulling {event.model} ({format_bytes(event.total_bytes)})")
        say(f"licence: {event.licence}")
        if event.licence_terms:
            say(f"  {event.licence_terms}")

    def _draw(self, event: PullEvent) -> None:
        if event.stage != self._stage:
            self._bar.start()
            self._bar.reset(
                self._task, description=_named(event), completed=event.done_bytes, visible=True
            )
        self._bar.update(self._task, completed=event.done_bytes, total=event.total_bytes)

    def _list(self, event: PullEvent) -> None:
        if event.stage != self._stage:
            say(f"{_named(event)} ...")
            self._next_line_bytes = event.done_bytes + LINE_SHARE * event.total_bytes
        if event.stage == "downloading" and event.done_bytes >= self._next_line_bytes:
            say(f"  {event.done_bytes / event.total_bytes:.0%}")
            self._next_line_bytes += LINE_SHARE * event.total_bytes


def _named(event: PullEvent) -> str:
    if event.stage == "waiting":
        return "waiting for another process that pulls it"
    return event.stage
