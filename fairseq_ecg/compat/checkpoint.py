"""Reading checkpoints of fairseq_signals and of this package, without running their code."""

import contextlib
import io
import logging
import os
import pickle
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fairseq_ecg.compat.pickled import check_tuples
from fairseq_ecg.errors import CheckpointError, DataError, shortened

logger = logging.getLogger(__name__)

TRUST_VARIABLE = "FAIRSEQ_ECG_TRUST_CHECKPOINTS"

NOTES = "fairseq_ecg"
"""Key of ``task_state`` under which training notes for users of a network what its data were:
``sample_rate`` in Hz and ``segment_seconds`` of its segments, ``labels``, the names of its labels,
and ``mean`` and ``std``, by which leads were normalised, each where it is known."""

DAMAGED_VARIABLE = "FAIRSEQ_ECG_ALLOW_DAMAGED"
"""Environment variable: ``1`` reads checkpoints whose checksums differ all the same."""

WRITTEN_IN_TRAINING = "it must be as fairseq in training, or save_pretrained, wrote it"

MAGIC = (b"PK\x03\x04", b"\x80")
"""How files of ``torch.save`` begin: a zip archive, formerly a pickle."""

IN_PLACE_OF_A_CHECKPOINT = {
    b"version https://git-lfs": (
        "it is a pointer of Git LFS, which `git lfs pull` replaces by the file"
    ),
    b"{": "safetensors are read from their folder, with config.json: give the folder",
}
"""What to do about files that are none of ``torch.save``, by their first bytes; those of
safetensors behind eight that are their length."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint would run code if it were unpickled."""


@contextlib.contextmanager
def damage_as_checkpoint_error(source: object, remedy: str) -> Iterator[None]:
    """Turn whatever fails on the content of a checkpoint into an error that names the file.

    It may hold anything, so that anything may fail.

    Args:
        source: file name for messages.
        remedy: what to do about it; ends the message.

    Raises:
        CheckpointError: the body failed.
        DataError: the body raised one; it names the file now, if it did not.
        ImportError: the body raised one, as the network needs a package that is not installed.
    """
    try:
        yield
    except CheckpointError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"{source} cannot be read: {error.strerror}") from error
    except DataError as error:
        if str(source) in str(error):
            raise
        raise DataError(f"{source}: {error}") from error
    except ImportError as error:
        raise ImportError(f"{source}: {error}", name=error.name) from error
    except Exception as error:
        reason = _first_line(error)
        if type(error) is not ValueError:  # which says by itself what is wrong
            reason = f"{type(error).__name__}: {reason}"
        raise CheckpointError(f"{source} cannot be used: {reason}; {remedy}") from error


def load_checkpoint(
    path: str | os.PathLike, trust: bool | None = None, allow_damaged: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint to the CPU.

    Only tensors, plain containers and NumPy numbers are unpickled; whatever else a file asks for
    is refused. The checksums that ``torch.save`` stores are compared with what is there; files
    of PyTorch before 1.6 have none, which is logged.

    Args:
        path: the ``.pt`` file.
        trust: unpickle everything, which lets the file run any code. If None, whether the
            environment variable ``FAIRSEQ_ECG_TRUST_CHECKPOINTS`` is ``1``.
        allow_damaged: read the file although checksums differ. If None, whether the environment
            variable ``FAIRSEQ_ECG_ALLOW_DAMAGED`` is ``1``.

    Returns:
        The saved dict: ``cfg``, ``model``, ``optimizer_history``, ``extra_state``,
        ``last_optimizer_state`` and others. ``model`` is a dict of plain tensors by name.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpointError: the file asks for objects outside the allowlist.
        CheckpointError: the file is truncated or damaged, or no checkpoint of a model.
    """
    if trust is None:
        trust = os.environ.get(TRUST_VARIABLE) == "1"
    if allow_damaged is None:
        allow_damaged = os.environ.get(DAMAGED_VARIABLE) == "1"
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: give the .pt file in it")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    remedy = "it is truncated, or no PyTorch checkpoint: copy or download it again"
    with damage_as_checkpoint_error(path, remedy):
        _check_file(path, allow_damaged)
        if not trust:
            _check_pickles(path)
        state = _unpickled(path, trust)
    if not isinstance(state, dict) or "model" not in state:
        raise CheckpointError(
            f"{path} holds no 'model', it is no fairseq checkpoint; {WRITTEN_IN_TRAINING}"
        )
    _check_weights(state["model"], path)
    return state


def _check_file(path: Path, allow_damaged: bool) -> None:
    """Look at what kind of file it is, and compare the checksums of an archive."""
    with open(path, "rb") as file:
        head = file.read(32)
    if not head.startswith(MAGIC):
        remedy = "copy or download it again"
        for begin, known in IN_PLACE_OF_A_CHECKPOINT.items():
            if begin in (head[: len(begin)], head[8 : 8 + len(begin)]):
                remedy = known
        if not head:
            raise CheckpointError(f"{path} cannot be read: it is truncated, to nothing; {remedy}")
        raise CheckpointError(f"{path} is no PyTorch checkpoint, it begins with {head!r}; {remedy}")
    if not head.startswith(b"PK"):
        _say_unchecked(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise CheckpointError(
                    f"{path} is refused: it is compressed, which torch.save never does, and may "
                    "unpack to any size. Pack its files again without compression (zip -0)"
                )
            if sum(record.file_size for record in records) > path.stat().st_size:
                raise zipfile.BadZipFile("longer records than the file")
            if not any(record.CRC for record in records):
                _say_unchecked(path)
                return
            record = archive.testzip()
            damage = None if record is None else f"the checksum of {record} differs"
    except CheckpointError:
        raise
    except Exception as error:  # zipfile fails on damage with whatever it tripped over
        damage = f"it is truncated, or its directory is damaged ({_first_line(error)})"
    if damage is None:
        return
    if not allow_damaged:
        raise CheckpointError(
            f"{path} cannot be read: {damage}. Copy or download it again; to read it all the same, "
            f"say --allow-damaged, in Python allow_damaged=True, or set {DAMAGED_VARIABLE}=1"
        )
    logger.warning("%s is read although %s", path, damage)


def _say_unchecked(path: Path) -> None:
    logger.warning("%s has no checksums: damage cannot be detected", path)


def _check_pickles(path: Path) -> None:
    """Raise ValueError where reading the file would take for ever."""
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            for _ in range(4):  # magic number, version, machine, and the state
                check_tuples(file)
            return
        # Damage that is allowed ends it: a file that was made to take for ever is whole.
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    check_tuples(io.BytesIO(archive.read(name)))


def _unpickled(path: Path, trust: bool) -> Any:
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(
            f"{path} is refused: it asks for more than tensors, plain containers and numbers, "
            f"which could run code on this machine ({_first_line(error)}). If you trust its "
            f"origin, set {TRUST_VARIABLE}=1 and try again."
        ) from error


def _check_weights(weights: object, source: object) -> None:
    """Raise CheckpointError unless these are plain tensors by name."""
    if not isinstance(weights, Mapping):
        raise CheckpointError(
            f"{source}: its 'model' is a {type(weights).__name__}, not weights by name; "
            f"{WRITTEN_IN_TRAINING}"
        )
    for name, value in weights.items():
        is_plain = (
            isinstance(name, str)
            and isinstance(value, torch.Tensor)
            and value.layout is torch.strided
            and value.device.type == "cpu"
            and not value.is_quantized
        )
        if not is_plain:
            raise CheckpointError(
                f"{source}: its weight {shortened(name)} is no plain tensor "
                f"but a {type(value).__name__}; {WRITTEN_IN_TRAINING}"
            )


def check_numbers(
    module: nn.Module,
    weights: Mapping[str, torch.Tensor],
    source: object,
    unused: Collection[str] = (),
) -> None:
    """Check that weights are numbers that a network can compute with.

    Args:
        module: whose weights they are. Its buffers, masks and counts for instance, may be any.
        weights: plain tensors by name, of the shapes that the module has.
        source: file name for messages.
        unused: names of weights that the module does not have.

    Raises:
        CheckpointError: a weight is complex or of whole numbers, or has values that are NaN or
            infinite; it is named.
    """
    buffers = dict(module.named_buffers())
    for name, value in weights.items():
        if name in buffers or name in unused:
            continue
        fault = None
        if not value.is_floating_point():
            fault = f"are {str(value.dtype).removeprefix('torch.')}, not real numbers"
        elif not (finite := _wide(value).isfinite()).all():
            fault = f"are NaN or infinite, {int((~finite).sum())} of {value.numel()}"
        if fault:
            raise CheckpointError(
                f"{source}: the values of {name} {fault}. Nothing can be computed with it: take a "
                "checkpoint of an earlier epoch, or train again"
            )


def _wide(value: torch.Tensor) -> torch.Tensor:
    """Give numbers of 8 bits, which torch can do little with, more of them."""
    return value.float() if value.dtype.itemsize == 1 else value


def fit(
    module: nn.Module,
    weights: Mapping[str, torch.Tensor],
    source: object,
    ignored: Collection[str] = (),
) -> None:
    """Load weights so that none is left over and none of the module stays random.

    Args:
        module: what to fill; on the meta device nothing but names and shapes is compared.
        weights: the state dict; older names of a normalised weight (``weight_g``, ``weight_v``)
            are understood by torch itself.
        source: file name for messages.
        ignored: names of sub-modules whose weights may be missing or left over.

    Raises:
        CheckpointError: keys are missing, left over or of another shape; it names them.
    """
    missing, left_over = _load(module, weights, source)
    problems = [
        f"{fault} {key}"
        for fault, keys in (("missing", missing), ("left over", left_over))
        for key in keys
        if _module_of(key) not in ignored
    ]
    if problems:
        named = ", ".join(problems[:10])
        if len(problems) > 10:
            named += f" and {len(problems) - 10} more"
        raise CheckpointError(f"{source} does not fit the model: {named}")


def _load(
    module: nn.Module, weights: Mapping[str, torch.Tensor], source: object
) -> tuple[list[str], list[str]]:
    """Load what the module has, in its shape; return the names that are missing and left over."""
    try:
        return nn.Module.load_state_dict(module, weights, strict=False)
    except RuntimeError as error:  # shapes that differ
        raise CheckpointError(f"{source} does not fit the model: {error}") from error


def load_strictly(
    module: nn.Module,
    weights: Mapping[str, torch.Tensor],
    source: object,
    ignored: Collection[str] = (),
) -> None:
    """Give a network its weights, see :func:`fit` and :func:`check_numbers`.

    Raises:
        CheckpointError: they do not fit, or are no numbers to compute with; keys are named.
    """
    fit(module, weights, source, ignored)
    unused = [name for name in weights if _module_of(name) in ignored]
    check_numbers(module, weights, source, unused)


def _module_of(key: str) -> str:
    return key.partition(".")[0]


def load_trained(
    module: nn.Module, state: dict[str, Any], source: str | os.PathLike, strict: bool = True
) -> None:
    """Give a whole fairseq model the weights of a checkpoint and its number of updates.

    Args:
        module: the model.
        state: what :func:`load_checkpoint` returned.
        source: file name for messages.
        strict: whether weights may neither be missing nor be left over.

    Raises:
        CheckpointError: the weights do not fit, or are no numbers to compute with; keys are named.
    """
    if strict:
        load_strictly(module, state["model"], source)
    else:
        _, left_over = _load(module, state["model"], source)
        check_numbers(module, state["model"], source, left_over)
    module.set_num_updates(num_updates_of(state, source))


def notes_in(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what training noted of its data, see `NOTES`, as a file of any origin says it.

    Args:
        state: what :func:`load_checkpoint` returned.

    Call it within :func:`damage_as_checkpoint_error`: a file may hold anything in its place.
    """
    return dict((state.get("task_state") or {}).get(NOTES) or {})


def num_updates_of(state: Mapping[str, Any], source: object) -> int:
    """Return the number of updates that a network was trained for; 0 if it is not stored.

    Args:
        state: what :func:`load_checkpoint` returned.
        source: file name for messages.

    Raises:
        CheckpointError: the checkpoint says something else there.
    """
    history = state.get("optimizer_history") or [{}]
    last = history[-1] if isinstance(history, list) else None
    number = last.get("num_updates", 0) if isinstance(last, Mapping) else None
    if not isinstance(number, int) or not 0 <= number < 2**63:
        raise CheckpointError(
            f"{source}: its optimizer_history does not hold a number of updates; "
            f"{WRITTEN_IN_TRAINING}"
        )
    return number


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
