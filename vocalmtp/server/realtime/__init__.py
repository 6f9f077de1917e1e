"""OpenAI's Realtime interface (the event names of its general availability) over a ChatSession."""
