"""Qwen2 and Qwen2.5: Llama with biases on query, key and value, and rotated halves."""

from slipstream.runtime.models.llama import Llama


class Qwen2(Llama):
    """Source: arXiv:2407.10671. The biases are read where the file has them, as in Llama."""

    interleaved_rope = False
