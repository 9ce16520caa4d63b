"""Concessions to fairseq's age and to the formats of fairseq_signals."""
