"""``fairseq-ecg store verify``."""

from fairseq_ecg.cli.store import Store

EXIT_DAMAGED = 1


def verify(store: Store, /) -> int:
    """Compare the checksums of all segments; the exit status is 1 where one is wrong."""
    from fairseq_ecg.prepare.unpack import verify

    faults = verify(store)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults" if faults else "all checksums are right")
    return EXIT_DAMAGED if faults else 0
