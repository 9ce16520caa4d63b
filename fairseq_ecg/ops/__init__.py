"""Functions on tensors: numpy and torch only, no configuration and no fairseq."""
