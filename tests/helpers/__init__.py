"""Fakes, tiny models and checks that tests share."""
