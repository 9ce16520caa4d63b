"""Registration when this package was imported before it was named as fairseq's user_dir.

fairseq walks the modules of a ``user_dir`` only if nobody imported the package before. Registering
must not depend on who came first, and must not happen in processes that never name this user_dir:
stock fairseq's own ``wav2vec2`` has to stay there.
"""

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGE = __name__.split(".", maxsplit=1)[0]


def register_when_named_as_user_dir() -> None:
    """Follow fairseq's import of user_dirs, now or as soon as fairseq itself is imported."""
    if "fairseq.utils" in sys.modules:
        _follow(sys.modules["fairseq.utils"])
    else:
        sys.meta_path.insert(0, _FollowOnImport())


class _FollowOnImport(MetaPathFinder):
    """Finds ``fairseq.utils`` as usual and follows it once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "fairseq.utils":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_follow(module: ModuleType) -> None:
                load(module)
                _follow(module)

            spec.loader.exec_module = load_and_follow
        return spec


def _follow(fairseq_utils: ModuleType) -> None:
    import_user_module = fairseq_utils.import_user_module

    @functools.wraps(import_user_module)
    def import_and_register(args):
        import_user_module(args)
        user_dir = getattr(args, "user_dir", None)
        if user_dir is not None and Path(user_dir).name == PACKAGE:
            importlib.import_module(f"{PACKAGE}.tasks")

    fairseq_utils.import_user_module = import_and_register
