"""The target's hidden states of all pieces, in shards on disk; each is computed once."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slipstream.apps.training.feature_job import FeatureJob
from slipstream.runtime.engine import Engine

_SHARD = 64  # pieces
_BESIDE = 8  # jobs that wait in the engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """tokens : (T,) int32; hidden : (T, C) float16, a view of a mapped file."""

    tokens: np.ndarray
    hidden: np.ndarray


class FeatureStore:
    """Shards of one target, text and window below a folder: others have a folder of their own."""

    def __init__(self, folder: Path, pieces: Sequence[Sequence[int]], fingerprint: str) -> None:
        """fingerprint : of the model file whose hidden states they are"""
        digest = hashlib.sha256(fingerprint.encode())
        for piece in pieces:
            digest.update(np.asarray([len(piece), *piece], "<i4").tobytes())
        self.folder = folder / f"features-{digest.hexdigest()[:16]}"
        self._pieces = pieces

    def collect(self, engine: Engine, progress: Callable[[int, int], None]) -> None:
        """Compute the shards that are not there yet; progress (pieces done, pieces)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for first in range(0, len(self._pieces), _SHARD):
            path = self._path(first)
            if not path.exists():
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    np.save(file, self._computed(engine, first))
                part.replace(path)
            progress(min(first + _SHARD, len(self._pieces)), len(self._pieces))

    def load(self) -> list[Piece]:
        """All pieces; their hidden states stay on disk until they are read."""
        found = []
        for first in range(0, len(self._pieces), _SHARD):
            hidden, row = np.load(self._path(first), mmap_mode="r"), 0
            for tokens in self._pieces[first : first + _SHARD]:
                rows = hidden[row : row + len(tokens)]
                found.append(Piece(tokens=np.asarray(tokens, np.int32), hidden=rows))
                row += len(tokens)
        return found

    def _path(self, first: int) -> Path:
        return self.folder / f"{first // _SHARD:05d}.npy"

    def _computed(self, engine: Engine, first: int) -> np.ndarray:
        """(tokens of the shard, C) float16."""
        pieces = self._pieces[first : first + _SHARD]
        parts = []
        for start in range(0, len(pieces), _BESIDE):
            jobs = [FeatureJob(list(piece)) for piece in pieces[start : start + _BESIDE]]
            for job in jobs:
                engine.submit(job)
            parts += [job.result().astype(np.float16) for job in jobs]
        return np.concatenate(parts)
