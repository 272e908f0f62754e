"""The steps of a warm-up."""

# Rows for which the kernels of a GPU differ, see `gpu_kernels.launch_shapes`; still more rows take
# the kernels of the first. 16 are the most for which attention has parts: smaller steps that are
# collected find room in theirs. 1 comes twice: the first run is collected, the second replays it.
WARM_UP_ROWS = (80, 40, 24, 16, 6, 3, 1, 1)
