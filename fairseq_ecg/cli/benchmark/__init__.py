"""``fairseq-ecg benchmark``, a command for each archive."""
