import pickle

import pandas as pd
import pytest

from fairseq_ecg.errors import DataError


def read_all(source):
    """Read every record as a worker process does: ECGs by ``save_file``, metadata, and faults."""
    source = pickle.loads(pickle.dumps(source))
    ecgs, rows, faults = {}, [], {}
    for record in source.records().to_dict("records"):
        try:
            ecg = source.read(record)
        except DataError as error:
            faults[record["save_file"]] = str(error)
            continue
        ecgs[record["save_file"]] = ecg
        columns = {k: v for k, v in ecg.metadata.items() if not isinstance(v, pd.DataFrame)}
        rows.append({"idx": len(rows), **record, "sample_rate": ecg.sample_rate, **columns})
    return ecgs, pd.DataFrame(rows), faults


@pytest.fixture(name="read_all")
def read_all_fixture():
    return read_all
