"""Decides which parts of a model lie on a GPU, and whether others are streamed to it."""
