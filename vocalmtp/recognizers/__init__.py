"""Speech recognizers behind one protocol, used by evaluation, batch verification and chat."""
