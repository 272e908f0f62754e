"""GPU kernels in Triton. Empty in this version: everything runs on the CPU."""
