"""Reinforcement learning of models that decide whether to think (extra `rl`)."""
