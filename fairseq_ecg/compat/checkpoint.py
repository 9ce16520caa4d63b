"""Reading checkpoints of fairseq_signals and of this package, without running their code."""

import os
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

TRUST_VARIABLE = "FAIRSEQ_ECG_TRUST_CHECKPOINTS"

NOTES = "fairseq_ecg"
"""Key of ``task_state`` under which training notes for users of a network what its data were:
``sample_rate`` in Hz and ``segment_seconds`` of its segments, and ``labels``, the names of its
labels, each where it is known."""


_MAGIC = (b"PK", b"\x80")
"""How files of ``torch.save`` begin: a zip archive, formerly a pickle."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message names the file and the remedy."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint would run code if it were unpickled."""


def load_checkpoint(path: str | os.PathLike, trust: bool | None = None) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Only tensors, plain containers and NumPy numbers are unpickled; whatever else a file asks for
    is refused.

    Args:
        path: the ``.pt`` file.
        trust: unpickle everything, which lets the file run any code. If None, whether the
            environment variable ``FAIRSEQ_ECG_TRUST_CHECKPOINTS`` is ``1``.

    Returns:
        The saved dict: ``cfg``, ``model``, ``optimizer_history``, ``extra_state``,
        ``last_optimizer_state`` and others.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file asks for objects outside the allowlist.
        CheckpointError: the file is truncated, or no checkpoint of a model.
    """
    if trust is None:
        trust = os.environ.get(TRUST_VARIABLE) == "1"
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    with open(path, "rb") as file:
        head = file.read(32)
    if head and not head.startswith(_MAGIC):
        remedy = "copy or download it again"
        if head.startswith(b"version https://git-lfs"):
            remedy = "it is a pointer of Git LFS, which `git lfs pull` replaces by the file"
        raise CheckpointError(f"{path} is no PyTorch checkpoint, it begins with {head!r}; {remedy}")
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            state = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(
            f"{path} is refused: it asks for more than tensors, plain containers and numbers, "
            f"which could run code on this machine ({_first_line(error)}). If you trust its "
            f"origin, set {TRUST_VARIABLE}=1 and try again."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it is truncated, or no PyTorch checkpoint "
            f"({_first_line(error)}); copy or download it again"
        ) from error
    if not isinstance(state, dict) or "model" not in state:
        raise CheckpointError(f"{path} holds no 'model': it is no fairseq checkpoint")
    return state


def load_strictly(
    module: nn.Module,
    weights: dict[str, torch.Tensor],
    source: str | os.PathLike,
    ignored: Collection[str] = (),
) -> None:
    """Load weights so that every one finds its place and no place stays random.

    Args:
        module: what to fill.
        weights: the state dict; older names of a normalised weight (``weight_g``, ``weight_v``)
            are understood by torch itself.
        source: file name for messages.
        ignored: names of sub-modules whose weights may be left over.

    Raises:
        CheckpointError: keys are missing, left over or of another shape; it names them.
    """
    wanted = {
        key: value for key, value in weights.items() if key.split(".", maxsplit=1)[0] not in ignored
    }
    try:
        missing, left_over = nn.Module.load_state_dict(module, wanted, strict=False)
    except RuntimeError as error:  # shapes that differ
        raise CheckpointError(f"{source} does not fit the model: {error}") from error
    problems = [f"missing {key}" for key in missing] + [f"left over {key}" for key in left_over]
    if problems:
        raise CheckpointError(f"{source} does not fit the model: {', '.join(problems)}")


def load_trained(
    module: nn.Module, state: dict[str, Any], source: str | os.PathLike, strict: bool = True
) -> None:
    """Give a whole fairseq model the weights of a checkpoint and the place of its training.

    Args:
        module: the model.
        state: what :func:`load_checkpoint` returned.
        source: file name for messages.
        strict: whether weights may neither be missing nor be left over.

    Raises:
        CheckpointError: the weights do not fit; keys are named.
    """
    if strict:
        load_strictly(module, state["model"], source)
    else:
        nn.Module.load_state_dict(module, state["model"], strict=False)
    history = state.get("optimizer_history") or [{}]
    module.set_num_updates(history[-1].get("num_updates", 0))


def model_config(state: dict[str, Any], source: str | os.PathLike) -> dict[str, Any]:
    """Return the configuration of the model that a checkpoint holds.

    Args:
        state: what :func:`load_checkpoint` returned.
        source: file name for messages.

    Raises:
        CheckpointError: the checkpoint has none.
    """
    try:
        return dict(state["cfg"]["model"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{source} has no cfg.model, so the architecture is unknown; "
            "it must be a checkpoint that fairseq wrote in training"
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return (named or lines or [type(error).__name__])[0]


def numpy_globals() -> list:
    """What a pickled NumPy number or array refers to; fairseq's meters may hold such numbers."""
    scalar, reconstruct = np._core.multiarray.scalar, np._core.multiarray._reconstruct
    numbers = [np.dtype(kind) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "bool")]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        (reconstruct, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *{type(dtype) for dtype in numbers},
    ]
