"""The preparation of a signal: one sequence for training data and for predictions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fairseq_ecg.ecg.blocks import Signal, in_pieces, mapped
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import ECG
from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.ecg.segmentation import segments_in
from fairseq_ecg.ecg.standardisation import Standardisation, standardisation


@dataclass(frozen=True)
class Pipeline:
    """From a recording in mV to segments: leads, sampling rate, standardisation, cutting.

    ``prepare`` writes what the steps give to files, a prediction gives it to a network. The same
    options give the same bits. Long recordings are worked on in blocks as their samples are asked
    for.

    Args:
        leads: names of the rows, in their order.
        sample_rate: of the segments in Hz.
        segment_samples: length of a segment in samples.
        resampler: one of `fairseq_ecg.ecg.resampling.RESAMPLERS`.
        standardise: whether every lead gets mean 0 and standard deviation 1 over the recording.
        epsilon: added to the standard deviation, in mV.
        constant_lead_strategy: what becomes of a flat lead, see
            :func:`fairseq_ecg.ecg.standardisation.standardisation`.
        zero_gaps: whether samples without a value, and leads that are not there, are left out of
            mean and standard deviation and become 0; otherwise the lead becomes NaN.
        keep_single: whether float32 samples are standardised in float32, as in fairseq_signals'
            preparation; otherwise in float64.
    """

    leads: tuple[str, ...] = LEADS
    sample_rate: float = 500.0
    segment_samples: int = 2500
    resampler: str = "linear"
    standardise: bool = True
    epsilon: float = 0.0
    constant_lead_strategy: str = "zero"
    zero_gaps: bool = False
    keep_single: bool = False

    def arranged(self, ecg: ECG) -> Signal:
        """Take the leads, ``(n_leads, n)`` in mV; NaN where one is missing or a sample infinite."""
        rows = [ecg.leads.index(lead) if lead in ecg.leads else None for lead in self.leads]
        is_single = self.keep_single and np.dtype(ecg.signal.dtype) == np.float32
        dtype = np.dtype(np.float32 if is_single and None not in rows else np.float64)
        # What a sum is rounded to depends on the order in memory: it is that of fairseq_signals.
        order: Literal["F", "C"] = "F" if tuple(ecg.leads) == self.leads else "C"

        def arranged(block: np.ndarray) -> np.ndarray:
            result = np.full((len(rows), block.shape[1]), np.nan, dtype, order)
            for position, row in enumerate(rows):
                if row is not None:
                    result[position] = block[row]
            result[np.isinf(result)] = np.nan
            return result

        return mapped(in_pieces(ecg.signal), arranged, len(rows), dtype)

    def resampled(self, signal: Signal, sample_rate: float) -> Signal:
        """Change the rate of arranged leads, ordered in memory as ``loadmat`` orders them.

        Args:
            signal: ``(n_leads, n)``.
            sample_rate: its rate in Hz.

        Raises:
            DataError: more samples would come out than are plausible.
        """
        n_samples = signal.shape[1] * max(self.sample_rate / sample_rate, 1)
        signal = in_pieces(signal, n_samples)
        signal = mapped(signal, np.asfortranarray, signal.shape[0], signal.dtype)
        return resample(signal, sample_rate, self.sample_rate, self.resampler)

    def standardisation(self, signal: Signal) -> Standardisation:
        """Find what standardises the resampled leads of a whole recording."""
        found = standardisation(signal, self.constant_lead_strategy, skip_missing=self.zero_gaps)
        return replace(found, std=found.std + self.epsilon)

    def standardised(self, signal: Signal, found: Standardisation) -> Signal:
        """Standardise resampled leads, if that is asked for, and fill gaps."""

        def standardised(block: np.ndarray) -> np.ndarray:
            result = found(block) if self.standardise else block
            return np.where(np.isnan(block), 0, result) if self.zero_gaps else result

        return mapped(signal, standardised, signal.shape[0], np.dtype(signal.dtype))

    def segments(self, signal: Signal) -> Iterator[np.ndarray]:
        """Cut standardised leads into ``(n_leads, segment_samples)``; what remains is dropped."""
        return segments_in(signal, self.segment_samples)
