"""Importing fairseq without what it does to a program's log.

Among the modules that fairseq imports with itself is one that sets the root logger to print
everything, down to DEBUG, which drowns a notebook in what matplotlib and numba have to say.
"""

import logging

_root, _silent = logging.getLogger(), logging.NullHandler()
_root.addHandler(_silent)  # where there is a handler, logging.basicConfig changes nothing
try:
    import fairseq  # noqa: F401
finally:
    _root.removeHandler(_silent)
