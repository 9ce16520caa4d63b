"""Data set of segments, each in a ``.mat`` file."""

from typing import Any

from fairseq_ecg.data.dataset import ECGDataset
from fairseq_ecg.data.recording import read_mat, recording_from_mat


class FileECGDataset(ECGDataset):
    """Segments listed in a plain manifest, one ECG in each item.

    A file holds ``feats`` (leads, samples), ``curr_sample_rate`` and, for labels, ``idx`` or
    ``label``. The constructor is that of `ECGDataset`.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Segment ``index``.

        It has ``id``, ``source`` (L, T) float32, ``sample_rate`` in Hz, if asked for ``label``
        (C,), and what augmentation asks for.
        """
        index = range(len(self))[index]
        entry, path = self.manifest[index], self._path(index)
        where = self._where(path, entry.line)
        required = ("feats", "curr_sample_rate", *self._label_keys)
        mat = read_mat(path, where, required=required, check=False)
        recording = recording_from_mat(mat, where)
        recording.check_n_samples(entry.n_samples)
        sample = {"id": index, **self._source(recording, self.lead_selection, index)}
        if self.label:
            sample["label"] = self._labels(mat, where)
        return sample
