"""Speed and latency measurements of models, heads and the chat server."""
