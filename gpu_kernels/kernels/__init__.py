"""The kernels' text, in Triton. Triton compiles each for a GPU when it is first used there."""
