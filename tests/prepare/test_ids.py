import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.prepare.ids import allot_ids, enter_prepared, ids_file

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


def records(source, names):
    return pd.DataFrame({"source": source, "save_file": [f"{name}.mat" for name in names]})


@settings(deadline=None, max_examples=25)
@given(runs=st.lists(st.tuples(st.sampled_from("xy"), NAMES), min_size=1, max_size=6))
def test_ids_are_unique_and_never_change(tmp_path_factory, runs):
    manifest = tmp_path_factory.mktemp("ids") / "manifest.csv"
    known = {}
    for source, names in runs:
        ids = allot_ids(manifest, records(source, names))
        for name, idx in zip(names, ids, strict=True):
            assert known.setdefault((source, name), idx) == idx
    assert sorted(known.values()) == list(range(len(known)))


def test_a_manifest_of_fairseq_signals_is_gone_on_with(tmp_path):
    manifest = tmp_path / "manifest.csv"
    lines = [
        "idx,source,source_path,save_file,sample_rate,sample_size",
        "0,x,/raw/a,a.mat,500,5000",
        "1,x,/raw/b,b.mat,500,5000",
        "2,x,/raw/a,a.mat,500,5000",  # prepared again, under a new id
    ]
    manifest.write_text("\n".join(lines) + "\n")
    table = records("x", "abc")
    ids = allot_ids(manifest, table)
    assert ids.tolist() == [2, 1, 3]
    prepared = table.assign(idx=ids, source_path="/raw", sample_rate=250, sample_size=2500)
    enter_prepared(manifest, prepared[prepared["save_file"] != "b.mat"])
    assert manifest.read_text().splitlines() == [
        lines[0],
        "1,x,/raw/b,b.mat,500,5000",
        "2,x,/raw,a.mat,250,2500",
        "3,x,/raw,c.mat,250,2500",
    ]
    assert ids_file(manifest).read_text().splitlines() == [
        *("idx,source,save_file", "1,x,b.mat", "2,x,a.mat", "3,x,c.mat")
    ]


def test_names_of_digits_stay_text(tmp_path):
    manifest = tmp_path / "manifest.csv"
    table = pd.DataFrame({"source": ["007", "7"], "save_file": ["1", "1"]})
    assert allot_ids(manifest, table).tolist() == [0, 1]
    assert allot_ids(manifest, table[::-1].reset_index(drop=True)).tolist() == [1, 0]
