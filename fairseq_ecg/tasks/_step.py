"""Random numbers of a training step."""

import numpy as np
import torch

TRAINING, VALIDATION = range(2)


class StepSeeds:
    """Seeds masks, dropout and negatives by update and by the batch's position in it.

    fairseq seeds torch before each update, alike on all ranks, and NumPy, from which masks are
    drawn, only at the start: a resumed run would go on with other masks. Here both depend on the
    seed, the update and the position of the batch among those of the update alone. Batch ``i`` of
    rank ``r`` out of ``W`` has position ``i * W + r``, so that W ranks draw what one process draws
    with ``update_freq`` W. The first position keeps fairseq's own torch seed.

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.update = None
        self.batch = 0

    def seed_training(self, update: int) -> None:
        """Seed for the next batch of an update (counted from 0)."""
        self.batch = self.batch + 1 if update == self.update else 0
        self.update = update
        rank, ranks = 0, 1
        if torch.distributed.is_initialized():
            rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        position = self.batch * ranks + rank
        sequence = np.random.SeedSequence([self.seed, TRAINING, update, position])
        np.random.seed(sequence.generate_state(4))
        if position > 0:
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def seed_validation(self, first_id: int) -> None:
        """Seed the masks of a validation batch by the index of its first record."""
        sequence = np.random.SeedSequence([self.seed, VALIDATION, first_id])
        np.random.seed(sequence.generate_state(4))
