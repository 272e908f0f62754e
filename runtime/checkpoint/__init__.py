"""Model files: opening them, and checking every byte that says how to read the others."""

from slipstream.runtime.checkpoint.model_file import ModelFile
from slipstream.runtime.checkpoint.tensor import Tensor

__all__ = ["ModelFile", "Tensor"]
