"""The names of fairseq_signals: which there are, and what stands for each here."""
