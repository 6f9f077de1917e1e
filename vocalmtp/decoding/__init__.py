"""The decode loop, strategies, sampling, acceptance rules and streaming."""
