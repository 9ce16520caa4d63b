"""``fairseq-ecg store``."""

import argparse
from pathlib import Path

EXIT_DAMAGED = 1


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "store",
        help="pack segments into a store that is fast to train from",
        description="Pack segments into a store that is fast to train from, look into one, check "
        "it, and turn it back into files. task.data takes a store where it takes manifests.",
    )
    steps = parser.add_subparsers(metavar="STEP", required=True)

    pack = steps.add_parser(
        "pack",
        help="pack the segments of manifests, or add them to a store",
        description="Pack the segments of all manifests of a folder into a store. What the store "
        "holds already keeps its place; a run that was killed goes on where it was.",
    )
    pack.add_argument("manifests", type=Path, metavar="MANIFEST_DIR", help="train.tsv, valid.tsv")
    pack.add_argument("store", type=_folder, metavar="STORE", help="folder, created where absent")
    pack.add_argument(
        "--dtype",
        choices=["float32", "float16", "int16", "float64"],
        help="of the samples: float32 gives the batches of the files bit by bit; float16 and "
        "int16 (with a scale for each lead) take half the space; from float64 the files come "
        "back as they were (default: the store's, float32 for a new one)",
    )
    pack.add_argument(
        "--shard-mb",
        type=_positive,
        default=128,
        metavar="MB",
        help="samples in one file, and memory needed (default: 128)",
    )
    pack.set_defaults(run=run_pack)

    unpack = steps.add_parser(
        "unpack",
        help="write the segments as .mat files, and their manifests",
        description="Write the segments of a store as .mat files, and manifests of its splits.",
    )
    _add_store(unpack)
    unpack.add_argument("out", type=Path, metavar="DIR", help="folder to write to")
    unpack.set_defaults(run=run_unpack)

    info = steps.add_parser("info", help="say what is in a store")
    _add_store(info)
    info.set_defaults(run=run_info)

    verify = steps.add_parser(
        "verify",
        help="compare all checksums",
        description="Compare the checksums of all segments; the exit status is 1 where one is "
        "wrong.",
    )
    _add_store(verify)
    verify.set_defaults(run=run_verify)


def run_pack(arguments: argparse.Namespace) -> int:
    """Pack, and say what was packed."""
    from fairseq_ecg.prepare.pack import pack

    packed = pack(
        arguments.manifests,
        arguments.store,
        dtype=arguments.dtype,
        shard_bytes=arguments.shard_mb * 2**20,
    )
    for split, count in packed.added.items():
        print(f"{split}: {count} segments added")
    if packed.present:
        print(f"{packed.present} segments were there already")
    return 0


def run_unpack(arguments: argparse.Namespace) -> int:
    """Unpack, and say what was unpacked."""
    from fairseq_ecg.prepare.unpack import unpack

    unpacked = unpack(arguments.store, arguments.out)
    for split, count in unpacked.segments.items():
        print(f"{split}: {count} segments")
    print(
        f"{unpacked.files} files, {unpacked.identical} of them with the bytes of those that were "
        "packed"
    )
    return 0


def run_info(arguments: argparse.Namespace) -> int:
    """Describe a store."""
    from fairseq_ecg.prepare.unpack import describe

    print(describe(arguments.store))
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Check a store, and say what is wrong with it."""
    from fairseq_ecg.prepare.unpack import verify

    faults = verify(arguments.store)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults" if faults else "all checksums are right")
    return EXIT_DAMAGED if faults else 0


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="folder, or URL that fsspec understands")


def _folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: write the store to a folder, and copy it there")
    return Path(text)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a positive number")
    return number
