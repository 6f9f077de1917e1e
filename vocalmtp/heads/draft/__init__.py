"""Draft heads: guesses at later steps that the model verifies."""
