"""``fairseq-ecg pool``."""

import argparse
from pathlib import Path


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pool",
        help="make embeddings and saliency of what fairseq-hydra-inference has stored",
        description="Reduce stores to one row per recording: encoder_out_<split>.npy to "
        "embeddings emb_<split>.npy (mean over frames), saliency_<split>.npy to "
        "attn_max_<split>.npy (largest attention weight of every frame in the last layer). "
        "Whichever store is there is reduced; np.load reads the results.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="common_eval.results_path")
    parser.add_argument("--split", required=True, metavar="NAME", help="subset, such as test")
    parser.add_argument("--device", default="cpu", help="that computes (default: cpu)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reduce what is there and say what was written."""
    from fairseq_ecg.data.errors import DataError
    from fairseq_ecg.inference.extracted import maximum_attention, pool_embeddings

    reductions = {"encoder_out": pool_embeddings, "saliency": maximum_attention}
    written = [
        reduce(arguments.directory, arguments.split, arguments.device)
        for name, reduce in reductions.items()
        if (arguments.directory / f"{name}_{arguments.split}.npy").exists()
    ]
    if not written:
        raise DataError(
            f"{arguments.directory}: neither encoder_out_{arguments.split}.npy nor "
            f"saliency_{arguments.split}.npy is there. Extract them by fairseq-hydra-inference"
        )
    for path in written:
        print(path)
    return 0
