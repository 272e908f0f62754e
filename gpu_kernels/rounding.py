"""How compiled kernels round."""

# Products are rounded before they are added, as written: a fused multiply-add would round a number
# to another quant than the CPU does, about one in a million.
EXACT = {"enable_fp_fusion": False}
