"""Fused and quantized modules for inference."""
