"""``fairseq-ecg prepare``: from an archive of ECGs to training data, a command for each step."""
