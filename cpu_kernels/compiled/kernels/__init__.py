"""The kernels' text, in Numba and LLVM. It is imported only where a kernel has to be compiled."""
