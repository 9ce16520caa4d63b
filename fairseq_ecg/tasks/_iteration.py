"""Iteration over batches, epoch by epoch."""

import torch
from fairseq.data.iterators import BufferedIterator, CountingIterator, EpochBatchIterator

from fairseq_ecg.errors import DataError


class EpochBatches(EpochBatchIterator):
    """fairseq's iterator with a fresh loader each epoch.

    Workers that outlive an epoch would not learn of the next one, on which augmentation depends.
    Memory is pinned only where there is a GPU to copy to.
    """

    @property
    def first_batch(self):
        """The first batch that is not empty, with which a rank fills a gap.

        Raises:
            DataError: there is none.
        """
        for indices in self.frozen_batches:
            batch = self.collate_fn(self.dataset.__getitems__(indices))
            if batch:
                return batch
        raise DataError(
            f"the subset {self.dataset.split} has no batch that anything is left of: what was left "
            "out is said above"
        )

    def _get_iterator_for_epoch(self, epoch, shuffle, fix_batches_to_gpus=False, offset=0):
        batches = self.ordered_batches(epoch, fix_batches_to_gpus, shuffle)[offset:]
        if offset > 0 and not batches:
            return None
        batched = torch.utils.data.DataLoader(
            self.dataset,
            collate_fn=self.collate_fn,
            batch_sampler=batches,
            num_workers=self.num_workers,
            timeout=self.timeout,
            pin_memory=torch.cuda.is_available(),
        )
        if self.buffer_size > 0:
            batched = BufferedIterator(self.buffer_size, batched)
        counted = CountingIterator(batched, start=offset)
        if self.skip_remainder_batch:
            counted.take(len(counted) - 1)
        return counted
