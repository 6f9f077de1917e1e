"""Draft heads: predictions of later steps, which a forward pass may verify."""
