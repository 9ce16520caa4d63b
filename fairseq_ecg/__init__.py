"""ECG-FM on stock fairseq: give this folder as ``common.user_dir``.

Importing the package is light and needs neither fairseq nor a compiler. Tasks, models and
criterions register once fairseq is given the folder as its ``user_dir``.
"""

from typing import TYPE_CHECKING, Any

from fairseq_ecg.compat.user_dir import register_when_named_as_user_dir

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel, load_model

    __version__: str

__all__ = ["ECGModel", "__version__", "load_model"]

register_when_named_as_user_dir()


def __getattr__(name: str) -> Any:
    """Import what takes time when it is asked for (PEP 562)."""
    if name in ("ECGModel", "load_model"):
        from fairseq_ecg import inference

        return getattr(inference, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("fairseq-ecg")
        except PackageNotFoundError:  # a checkout that was not installed
            return "0.0.0"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
