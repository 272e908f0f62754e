"""Softmax attention of a step's rows over paged keys and values."""

import numpy as np

from slipstream.cpu_kernels.compiled.cache import kernel
from slipstream.cpu_kernels.compiled.exponential import exp_f32
from slipstream.cpu_kernels.compiled.memory import half_to_float32
from slipstream.cpu_kernels.compiled.thread_pool import POOL
from slipstream.cpu_kernels.compiled.work_sharing import outline, run_items
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
    POOL.run(
        _attention,
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
    )
    return out


@kernel()
def _attention(
    state, q, keys, values, sequences, page_tables, past, num_new, first_key, mask, scale, out
):
    run_items(
        state,
        outline(
            _head_of_row,
            (q, keys, values, sequences, page_tables, past, num_new, first_key, mask, scale, out),
        ),
        q.shape[0] * q.shape[1],
    )


@kernel()
def _head_of_row(
    item, q, keys, values, sequences, page_tables, past, num_new, first_key, mask, scale, out
):
    """Attention of one head of one row; neighbouring items read the same keys."""
    h, m = item // q.shape[0], item % q.shape[0]
    kv_head = h // (q.shape[1] // keys.shape[1])
    s = sequences[m]
    start, end = first_key[m], past[s] + num_new[s]
    weights = np.empty(end, np.float32)
    largest = _scores(
        q[m, h], keys[:, kv_head], page_tables[s], start, end, past[s], mask[m], scale, weights
    )
    _weigh(values[:, kv_head], page_tables[s], start, end, largest, weights, out[m, h])


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
