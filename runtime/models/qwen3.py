"""Qwen3: Llama with RMS norm on each query and key head, a free head size, and rotated halves."""

from slipstream.runtime.models.llama import Llama


class Qwen3(Llama):
    """Source: arXiv:2505.09388. The head norms are read where the file has them, as in Llama."""

    interleaved_rope = False
