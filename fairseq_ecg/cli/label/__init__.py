"""``fairseq-ecg label``: labels of the free text of ECG reports."""
