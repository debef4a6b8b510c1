"""Layers with weights in blocks on GPUs: one source for OpenCL, Metal and CUDA."""
