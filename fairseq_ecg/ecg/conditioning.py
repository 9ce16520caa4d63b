"""Signal conditioning: from a recording as it is stored to the rows a model sees."""

import os
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch.nn import functional as F

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import Recording
from fairseq_ecg.errors import DataError

NaNPolicy = Literal["error", "zero", "keep"]
NAN_POLICIES = get_args(NaNPolicy)

# neurokit2's filters are set for this rate whatever the rate of the recording, as in
# fairseq_signals: models were trained on signals cleaned so.
CLEANING_RATE = 500


@dataclass(frozen=True, eq=False)
class LeadStatistics:
    """Mean and standard deviation of each lead over a data set.

    Args:
        mean: ``(12,)`` float64, in the unit of the ECGs.
        std: ``(12,)`` float64, in the unit of the ECGs.

    Raises:
        DataError: these are not twelve finite numbers each, or a standard deviation is not
            positive.
    """

    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values.shape != (len(LEADS),) or values.dtype.kind not in "fiu":
                raise DataError(f"{name} of the leads: expected {len(LEADS)} numbers")
            if not np.isfinite(values).all():
                raise DataError(f"{name} of the leads: a number is not finite")
        if not (self.std > 0).all():
            lead = LEADS[int(np.argmin(self.std))]
            raise DataError(f"the standard deviation of {lead} is not positive")

    @classmethod
    def read(cls, mean_path: str | os.PathLike, std_path: str | os.PathLike) -> "LeadStatistics":
        """Read both from text files of twelve lines.

        Raises:
            DataError: not twelve finite numbers, or a standard deviation that is not positive.
        """
        mean, std = _read_column(mean_path), _read_column(std_path)
        try:
            return cls(mean, std)
        except DataError as error:
            raise DataError(f"{std_path}: {error}") from error


def _read_column(path: str | os.PathLike) -> np.ndarray:
    try:
        with open(path, encoding="utf-8") as file:
            values = np.array([float(text) for text in file.read().split()])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check task.mean_path and task.std_path") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected one number in each line: {error}") from error
    if len(values) != len(LEADS) or not np.isfinite(values).all():
        raise DataError(
            f"{path}: expected {len(LEADS)} finite numbers, one for each lead in standard order, "
            f"found {len(values)}"
        )
    return values


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The deterministic steps between a stored recording and the rows of an ECG.

    Args:
        pad_leads: whether ECGs have twelve rows, zeros in place of leads that are not taken.
        sample_rate: rate in Hz that recordings must have. None or 0: any.
        filter: whether every row is cleaned by ``neurokit2.ecg_clean``.
        statistics: with which the loaded leads are normalised. None: not at all.
        layer_norm: whether a recording is normalised by the mean and the biased variance of all its
            samples.
        nan_policy: what becomes of samples that are NaN or infinite: "error" raises DataError,
            "zero" makes them 0, "keep" leaves them.

    Raises:
        ValueError: an unknown policy.
        ImportError: ``filter`` without neurokit2.
    """

    pad_leads: bool = False
    sample_rate: float | None = None
    filter: bool = False
    statistics: LeadStatistics | None = None
    layer_norm: bool = False
    nan_policy: str = "error"

    def __post_init__(self) -> None:
        if self.nan_policy not in NAN_POLICIES:
            raise ValueError(
                f"nan_policy={self.nan_policy!r}: choose from {', '.join(NAN_POLICIES)}"
            )
        if self.filter:
            _neurokit()

    def _check_sample_rate(self, recording: Recording) -> None:
        """Raise DataError if the recording has not the configured rate."""
        if self.sample_rate and recording.sample_rate != self.sample_rate:
            raise DataError(
                f"{recording.where}: is sampled at {recording.sample_rate:g} Hz, but "
                f"task.sample_rate is {self.sample_rate:g}. Resample the recordings, or set "
                "task.sample_rate to their rate"
            )

    def __call__(self, recording: Recording, leads: list[int]) -> torch.Tensor:
        """Condition one recording.

        Args:
            recording: as it is stored.
            leads: standard positions of the leads to take, in the order of their rows.

        Returns:
            ``(len(leads), T)``, or ``(12, T)`` if leads are padded; float32, float64 if
            filtered.

        Raises:
            DataError: wrong sampling rate, a lead that is missing, or non-finite samples.
        """
        self._check_sample_rate(recording)
        ecg = self._finite(_select(recording, leads), leads, recording.where)
        ecg = self._padded(ecg, leads)
        if self.filter:
            ecg_clean = _neurokit().ecg_clean
            ecg = np.stack([ecg_clean(row, sampling_rate=CLEANING_RATE) for row in ecg])
        return self._normalised(ecg, leads)

    def of_batch(
        self, ecgs: torch.Tensor, sample_rates: np.ndarray, leads: list[int], are_finite: bool
    ) -> torch.Tensor | None:
        """Condition recordings together that call for nothing but plain arithmetic.

        Args:
            ecgs: ``(B, L, T)`` float32 as they are stored, of which the result may be a part.
            sample_rates: ``(B,)`` in Hz.
            leads: standard positions of the leads to take, in the order of their rows.
            are_finite: whether it is known that no sample is NaN or infinite.

        Returns:
            In each row what the recording by itself gives, or None where one has to be looked at
            by itself: leads are filtered, a lead or the rate is wrong, or a sample may not be
            finite.
        """
        n_rows = ecgs.shape[1]
        if self.filter or max(leads) >= n_rows:
            return None
        if self.sample_rate and (sample_rates != self.sample_rate).any():
            return None
        if self.nan_policy != "keep" and not are_finite:
            return None
        if leads != list(range(n_rows)):
            ecgs = ecgs[:, leads]
        return self._normalised(self._padded(ecgs.numpy(), leads), leads)

    def _padded(self, ecgs: np.ndarray, leads: list[int]) -> np.ndarray:
        """Put ``(..., len(leads), T)`` into twelve rows, if leads are padded."""
        if not self.pad_leads:
            return ecgs
        padded = np.zeros((*ecgs.shape[:-2], len(LEADS), ecgs.shape[-1]), dtype=np.float32)
        padded[..., leads, :] = ecgs
        return padded

    def _normalised(self, ecgs: np.ndarray, leads: list[int]) -> torch.Tensor:
        """Normalise ``(..., rows, T)``, by statistics in place."""
        if self.statistics is not None:
            rows = leads if self.pad_leads else range(len(leads))
            for row, lead in zip(rows, leads, strict=True):
                mean, std = self.statistics.mean[lead], self.statistics.std[lead]
                ecgs[..., row, :] = (ecgs[..., row, :] - mean) / std
        tensor = torch.from_numpy(ecgs)
        return F.layer_norm(tensor, tensor.shape[-2:]) if self.layer_norm else tensor

    def _finite(self, ecg: np.ndarray, leads: list[int], where: str) -> np.ndarray:
        if self.nan_policy == "keep":
            return ecg
        finite = np.isfinite(ecg)
        if finite.all():
            return ecg
        if self.nan_policy == "zero":
            return np.where(finite, ecg, np.float32(0))
        counts = (~finite).sum(axis=1)
        found = ", ".join(
            f"{count} in {LEADS[lead]}" for lead, count in zip(leads, counts, strict=True) if count
        )
        raise DataError(
            f"{where}: of {ecg.shape[1]} samples, NaN or infinite are {found}. Leave the file out "
            "of the manifest, or set nan_policy=zero to make them 0"
        )


def _select(recording: Recording, leads: list[int]) -> np.ndarray:
    n_rows = len(recording.feats)
    missing = [LEADS[lead] for lead in leads if lead >= n_rows]
    if missing:
        raise DataError(
            f"{recording.where}: has {n_rows} leads, without {', '.join(missing)}. "
            "Name the leads to use in task.leads_to_load, or prepare the file with all of them"
        )
    with np.errstate(over="ignore"):  # becomes infinite, which the policy for NaN deals with
        return recording.feats[leads].astype(np.float32, order="C")


def _neurokit():
    try:
        import neurokit2
    except ImportError as error:
        raise ImportError(
            "task.filter=true needs neurokit2: pip install neurokit2", name="neurokit2"
        ) from error
    return neurokit2
