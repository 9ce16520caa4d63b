"""From the free text of ECG reports to labels."""
