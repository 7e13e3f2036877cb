"""CUDA C++ kernels and their loader."""
