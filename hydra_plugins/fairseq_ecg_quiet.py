"""Silence at the start of fairseq's programs.

fairseq's Hydra program warns, while it is being imported and before any plugin or user_dir is
read, of how it calls Hydra, and logs which of its unrelated tasks lack a package. No user of it
can act on either. What runs early enough is torch's loading of device backends, which calls
:func:`silence` through an entry point. In other programs it does nothing.
"""

import logging
import sys
import warnings
from pathlib import PurePath


def silence() -> None:
    """Filter the start-up messages of fairseq's own programs."""
    program = PurePath(sys.argv[0] if sys.argv else "")
    if not (program.name.startswith("fairseq-") or "fairseq_cli" in program.parts):
        return
    for message in (
        r"\s*The version_base parameter is not specified",
        r"\s*'.*' is validated against ConfigStore schema with the same name",
        r"\s*Future Hydra versions will no longer change working directory",
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)
    logging.getLogger("hydra.core.utils").setLevel(logging.INFO)
