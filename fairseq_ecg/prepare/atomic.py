"""Files that are either whole or absent, for the programs that prepare data."""

from fairseq_ecg.data.atomic import replacing

__all__ = ["replacing"]
