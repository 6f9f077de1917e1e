"""Speech and text LMs, their prompts and batches, and the aligner."""
