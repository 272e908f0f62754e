"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np
from numba import get_num_threads, prange

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.exponential import exp_f32
from slipstream.cpu_kernels.compiled.memory import address_of, half_to_float32, next_item
from slipstream.cpu_kernels.reference.attention import check_attention
from slipstream.cpu_kernels.visibility import Visibility


def attention(
    q: np.ndarray,
    key_pages: np.ndarray,
    value_pages: np.ndarray,
    visibility: Visibility,
    *,
    scale: float,
    out: np.ndarray,
) -> np.ndarray:
    """As `slipstream.cpu_kernels.reference.attention`.

    A row adds its keys up one after another, and an unseen key adds exactly nothing, so a tree's
    row equals the same row of a linear step bit for bit.
    """
    check_attention(q, key_pages, value_pages, visibility, out)
    most_keys = int((visibility.past + visibility.num_new).max())
    _attention(
        q,
        key_pages.view(np.uint16),
        value_pages.view(np.uint16),
        visibility.sequences,
        visibility.page_tables,
        visibility.past,
        visibility.num_new,
        visibility.first_key,
        visibility.mask,
        np.float32(scale),
        out,
        most_keys,
        get_num_threads(),
    )
    return out


@kernel(parallel=True)
def _attention(
    q,
    key_pages,
    value_pages,
    sequences,
    page_tables,
    past,
    num_new,
    first_key,
    mask,
    scale,
    out,
    most_keys,
    num_threads,
):
    num_rows, num_heads = q.shape[:2]
    group = num_heads // key_pages.shape[1]
    counter = np.zeros(1, np.int64)
    for _thread in prange(num_threads):
        weights = np.empty(most_keys, np.float32)
        while True:
            item = next_item(address_of(counter))
            if item >= num_rows * num_heads:
                break
            h, m = item // num_rows, item % num_rows
            s = sequences[m]
            pages = page_tables[s]
            start, end = first_key[m], past[s] + num_new[s]
            largest = _scores(
                q[m, h],
                key_pages[:, h // group],
                pages,
                start,
                end,
                past[s],
                mask[m],
                scale,
                weights,
            )
            _weigh(value_pages[:, h // group], pages, start, end, largest, weights, out[m, h])
    counter[0] = 0


@kernel(fastmath={"reassoc", "contract", "nsz"})
def _scores(q, key_pages, pages, start, end, past, mask, scale, scores):
    """scores[j] = scale * q . key j for start <= j < end, -inf if unseen; returns the largest."""
    page_size = key_pages.shape[1]
    largest = np.float32(-np.inf)
    for j in range(start, end):
        if j >= past and not mask[j - past]:
            scores[j] = np.float32(-np.inf)
            continue
        key = key_pages[pages[j // page_size], j % page_size]
        score = np.float32(0.0)
        for d in range(q.shape[0]):
            score += q[d] * half_to_float32(key[d])
        scores[j] = score * scale
        largest = max(largest, scores[j])
    return largest


@kernel(fastmath={"contract", "nsz"}, error_model="numpy")
def _weigh(value_pages, pages, start, end, largest, weights, out):
    """out = softmax(weights[start:end]) values; `weights` holds the scores and is changed."""
    page_size = value_pages.shape[1]
    for j in range(start, end):
        seen = weights[j] > np.float32(-np.inf)
        weights[j] = exp_f32(weights[j] - largest) if seen else np.float32(0.0)
    total = np.float32(0.0)
    out[:] = 0.0
    for j in range(start, end):
        weight = weights[j]
        if weight == np.float32(0.0):
            continue
        total += weight
        value = value_pages[pages[j // page_size], j % page_size]
        for d in range(out.shape[0]):
            out[d] += weight * half_to_float32(value[d])
    for d in range(out.shape[0]):
        out[d] /= total
