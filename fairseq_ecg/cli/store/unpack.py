"""``fairseq-ecg store unpack``."""

from pathlib import Path

from fairseq_ecg.cli.store import Store


def unpack(store: Store, out: Path, /) -> int:
    """Write the segments of a store as .mat files, and manifests of its splits.

    Args:
        out: folder to write to
    """
    from fairseq_ecg.prepare.unpack import unpack

    unpacked = unpack(store, out)
    for split, count in unpacked.segments.items():
        print(f"{split}: {count} segments")
    print(
        f"{unpacked.files} files, {unpacked.identical} of them with the bytes of those that were "
        "packed"
    )
    return 0
