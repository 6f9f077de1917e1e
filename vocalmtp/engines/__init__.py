"""How a decoding step runs: fused and quantized modules for CPU inference."""
