"""Reading, atomic writing and locking of files."""
