"""The one error of bad data."""


class DataError(ValueError):
    """Data on disk that cannot be used; the message names the file, the fault and the remedy."""
