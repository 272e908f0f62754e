"""Which keys each row of a step may attend to."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Rows of a step, the sequences they belong to, and the keys they see.

    The keys of sequence s are its `past[s]` committed ones, then one for each of its new rows, in
    row order; key j lies in page `page_tables[s, j // page_size]`. Row m sees the committed keys
    from `first_key[m]` on, and new row i of its own sequence where `mask[m, i]`.

    sequences   : (M,) int32, s of each row; rows of one sequence stand together
    page_tables : (S, P) int32
    past        : (S,) int32
    first_key   : (M,) int32
    mask        : (M, R) bool, R the most new rows that a sequence has; a row sees itself
    num_new     : (S,) int32, new rows of each sequence
    """

    sequences: np.ndarray
    page_tables: np.ndarray
    past: np.ndarray
    first_key: np.ndarray
    mask: np.ndarray
    num_new: np.ndarray
