"""Published tokenizers implemented here, whose weights are converted from the authors' files."""
