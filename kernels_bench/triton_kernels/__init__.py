"""Our own attention kernels in Triton: right first, plain to read, fit for CUDA graphs.

Kernels are decorated functions, so that their modules import Triton: to be imported late, in the
measuring process. What decides how much a program takes at once is `backends/_triton_tiles.py`.
"""
