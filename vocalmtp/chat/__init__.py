"""Conversations: hear, answer aloud, be interrupted. `ChatSession` knows no page and no device."""
