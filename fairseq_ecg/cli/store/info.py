"""``fairseq-ecg store info``."""

from fairseq_ecg.cli.store import Store


def info(store: Store, /) -> int:
    """Say what is in a store."""
    from fairseq_ecg.prepare.unpack import describe

    print(describe(store))
    return 0
