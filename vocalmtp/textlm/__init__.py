"""Text LMs of Transformers with the draft heads of this library: K = 1 token a step."""
