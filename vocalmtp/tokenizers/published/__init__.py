"""Published speech tokenizers under their authors' parameter names, one file each."""
