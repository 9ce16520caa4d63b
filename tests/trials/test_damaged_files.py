"""Files of every format with bytes that were changed, inserted, or cut off.

Each is read as an ECG, or refused by DataError: nothing else is raised, nothing crashes or hangs,
and no more memory is taken than a few files of that size need.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.trials.files import good_files
from tests.trials.guarded import Call, outcomes


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one of the ways in which files are damaged."""
    data = bytearray(content)
    # Headers are where it matters: half of the damage is done to the first bytes.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
    position = int(rng.integers(reach))
    match rng.integers(6):
        case 0:
            data[position] ^= 1 << rng.integers(8)
        case 1:
            for other in rng.integers(reach, size=8):
                data[other] = rng.integers(256)
        case 2:
            del data[position:]
        case 3:
            data[position:position] = rng.bytes(int(rng.integers(1, 64)))
        case 4:
            del data[position : position + int(rng.integers(1, 64))]
        case 5:
            extreme = [b"\xff" * 8, bytes(8), b"99999999", b"-1", b"1e99", b"\x7f\xff\xff\xff"]
            chosen = extreme[rng.integers(len(extreme))]
            data[position : position + len(chosen)] = chosen
    return bytes(data)


def calls(folder: Path, n_each: int, seed: int) -> Iterator[Call]:
    """Damage each file so many times, one after another."""
    for kind, (victim, path, options) in enumerate(list(good_files(folder))):
        content = victim.read_bytes()
        rng = np.random.default_rng([seed, kind])
        yield Call(str(path), options)
        for number in range(n_each):
            victim.write_bytes(damaged(content, rng))
            yield Call(str(path), options | ({"at_once": 50} if number % 4 == 3 else {}))
        victim.write_bytes(content)


def trial(folder: Path, n_each: int, seed: int) -> None:
    wrong, n_read, n_refused = [], 0, 0
    for number, (call, outcome) in enumerate(outcomes(calls(folder, n_each, seed))):
        if number % (n_each + 1) == 0:
            assert outcome.kind == "returned", (call.path, outcome.message)
        n_read += outcome.kind == "returned"
        n_refused += outcome.kind == "DataError"
        if not outcome.is_right or outcome.seconds > 5:
            wrong.append((Path(call.path).name, number % (n_each + 1), outcome))
    assert not wrong
    assert min(n_read, n_refused) > (n_read + n_refused) / 10  # the damage was neither none nor all


@pytest.mark.parametrize("seed", [0])
def test_damaged_files(seed, tmp_path):
    pytest.importorskip("ecgdatakit", reason="needs the extra scp")
    trial(tmp_path, 25, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_damaged_files(seed, tmp_path):
    pytest.importorskip("ecgdatakit", reason="needs the extra scp")
    trial(tmp_path, 150, seed)
