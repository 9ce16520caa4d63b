"""Names of the files of segments: ``<recording>_<number>.mat``."""

import re

SEGMENT_FILE = re.compile(r"_(\d+)\.mat$")


def segment_file(save_file: str, i: int) -> str:
    """Return the name of the file of segment ``i``."""
    return f"{save_file.removesuffix('.mat')}_{i}.mat"


def recording_of_segment(name: str) -> str:
    """Return the ``save_file`` that a segment's file belongs to."""
    return SEGMENT_FILE.sub(".mat", name)
