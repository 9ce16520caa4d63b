"""``fairseq-ecg pool``."""

from fairseq_ecg.cli.options import Folder, Name
from fairseq_ecg.errors import DataError


def pool(directory: Folder, /, *, split: Name, device: Name = "cpu") -> int:
    """Make embeddings and saliency of what fairseq-hydra-inference has stored.

    What is stored is reduced to one row per recording: encoder_out_<split>.npy to embeddings
    emb_<split>.npy (mean over frames), saliency_<split>.npy to attn_max_<split>.npy (largest
    attention weight of every frame in the last layer). Whichever file is there is reduced; np.load
    reads the results.

    Args:
        directory: common_eval.results_path
        split: subset, such as test
        device: that computes
    """
    from fairseq_ecg.inference.extracted import maximum_attention, pool_embeddings

    reductions = {"encoder_out": pool_embeddings, "saliency": maximum_attention}
    written = [
        reduce(directory, split, device)
        for name, reduce in reductions.items()
        if (directory / f"{name}_{split}.npy").exists()
    ]
    if not written:
        raise DataError(
            f"{directory}: neither encoder_out_{split}.npy nor saliency_{split}.npy is there. "
            "Extract them by fairseq-hydra-inference"
        )
    for path in written:
        print(path)
    return 0
