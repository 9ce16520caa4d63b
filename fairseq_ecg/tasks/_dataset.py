"""ECG datasets in the shape that fairseq's trainer asks for."""

import numpy as np
from fairseq.data import FairseqDataset
from fairseq.data.data_utils_fast import batch_by_size_vec

from fairseq_ecg.data import ECGDataset


class BatchedECGDataset(FairseqDataset):
    """Recordings, batched as fairseq_signals batches them.

    Args:
        recordings: the dataset proper.
        split: its name among the task's datasets; every batch carries it.
    """

    def __init__(self, recordings: ECGDataset, split: str):
        super().__init__()
        self.recordings = recordings
        self.split = split

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int):
        return self.recordings[index]

    def __getitems__(self, indices):
        return self.recordings.__getitems__(indices)

    def collater(self, samples: list) -> dict:
        """Join items to a batch; none to an empty one, by which fairseq knows a gap of a rank.

        A padding mask that masks nothing is left out: on a device it could not be known
        without waiting for it.
        """
        batch = self.recordings.collate(samples)
        if not batch:
            return batch
        key = self.recordings.target.padding_mask_key
        padding_mask = batch["net_input"].get(key)
        # Padding is on the right of all leads alike.
        if padding_mask is not None and not padding_mask[:, 0, -1].any():
            del batch["net_input"][key]
        return batch | {"split": self.split}

    def num_tokens(self, index: int) -> int:
        """Size of an item in samples."""
        return self.recordings.size(index)

    def size(self, index: int) -> int:
        """Size of an item in samples."""
        return self.recordings.size(index)

    def ordered_indices(self) -> np.ndarray:
        """Order of the items before they are cut into batches."""
        return self.recordings.ordered_indices()

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Cut ordered items into batches, all of them.

        Stock fairseq leaves out a last batch that is no multiple of the required size, and with
        it up to seven recordings of every epoch.

        Args:
            indices: items in order.
            max_tokens: most samples in a batch.
            max_sentences: most items in a batch.
            required_batch_size_multiple: batches are smaller than this or a multiple of it.

        Returns:
            Items of each batch.
        """
        sizes = np.array([self.size(index) for index in indices], dtype=np.int64)
        return batch_by_size_vec(
            np.asarray(indices, dtype=np.int64),
            sizes,
            -1 if max_tokens is None else int(max_tokens),
            -1 if max_sentences is None else max_sentences,
            required_batch_size_multiple,
        )

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which random draws depend."""
        self.recordings.set_epoch(epoch)
