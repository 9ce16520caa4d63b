import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.splits import (
    FRACTIONS,
    SPLITS,
    Division,
    complete_fractions,
    parse_fractions,
    write_splits,
)


def recordings(n=20, **columns):
    meta = {"idx": np.arange(n), "save_file": [f"r{i}.mat" for i in range(n)]}
    return pd.DataFrame(meta | columns)


def split(meta, strategy, fractions=FRACTIONS, labels=SPLITS, seed=1, **options):
    division = Division(strategy=strategy, fractions=fractions, labels=labels, seed=seed, **options)
    return division.divide(meta)[0]


def sizes(table):
    return table["split"].value_counts().to_dict()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.8,0.1,0.1", (0.8, 0.1, 0.1)),
        ("[0.7, 0.2, 0.1]", (0.7, 0.2, 0.1)),
        ("0.7,0.1", (0.7, 0.1, 0.2)),
        ("1", (1.0,)),
        ("8,1,1", (0.8, 0.1, 0.1)),
        ("80 %, 10 %, 10 %", (0.8, 0.1, 0.1)),
        ("0.6,0.6", (0.5, 0.5)),
    ],
)
def test_fractions_are_read_exactly(text, expected):
    assert parse_fractions(text) == expected


@pytest.mark.parametrize("text", ["", "most", "0,0", "-0.1,1.1", "0.1.2,0.9"])
def test_fractions_that_are_none(text):
    with pytest.raises(DataError, match=r"such as 0\.8,0\.1,0\.1"):
        parse_fractions(text)


def test_thirds_are_whole():
    assert len(complete_fractions([1 / 3] * 3)) == 3


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (10, {"train": 8, "valid": 1, "test": 1}),
        # Bounds are round(4), round(4.5) = 4 and 5: halves go to the even number.
        (5, {"train": 4, "test": 1}),
        (7, {"train": 6, "test": 1}),
        (13, {"train": 10, "valid": 2, "test": 1}),
    ],
)
def test_random_rounds_the_bounds(n, expected):
    assert sizes(split(recordings(n), "random")) == expected


def test_random_is_seeded_and_does_not_reorder_d11():
    first, again, other = (split(recordings(), "random", seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert list(first["idx"]) == list(range(20))


def test_random_without_patients_says_that_nothing_was_checked(caplog):
    split(recordings(), "random")
    assert "no column names the patient" in caplog.text


def test_grouped_counts_groups_and_rounds_down():
    """0.8 of 9 groups are 7; a half of the 2 left is 1; the big group does not matter."""
    groups = [0] * 11 + list(range(9))
    table = split(recordings(20, site=groups), "grouped", group_column="site")
    assert list(table) == ["idx", "save_file", "split", "site"]
    of_group = table.groupby("site")["split"].agg(["nunique", "first"])
    assert (of_group["nunique"] == 1).all()
    assert of_group["first"].value_counts().to_dict() == {"train": 7, "valid": 1, "test": 1}


def test_grouped_depends_on_the_groups_and_the_seed_alone_d11():
    meta = recordings(30, site=[f"s{i % 15}" for i in range(30)])

    def by_site(meta, seed):
        table = split(meta, "grouped", group_column="site", seed=seed)
        return dict(zip(table["site"], table["split"], strict=True))

    drawn = by_site(meta, 1)
    assert by_site(meta.iloc[::-1], 1) == drawn
    assert by_site(meta[::2], 1) == drawn
    assert by_site(meta, 2) != drawn


def test_grouped_leaves_out_what_has_no_group():
    meta = recordings(12, site=[None, np.nan, *range(10)])
    table, dropped = Division(strategy="grouped", group_column="site").divide(meta)
    assert len(table) == 10
    assert dropped == {"no site": 2}


@pytest.mark.parametrize(
    ("n_groups", "fractions", "expected"),
    [
        (3, (0.8, 0.1, 0.1), (1, 1, 1)),
        (4, (0.8, 0.1, 0.1), (2, 1, 1)),
        (5, (0.8, 0.1, 0.1), (3, 1, 1)),
        (10, (0.01, 0.01, 0.98), (1, 1, 8)),
        (10, (0.98, 0.01, 0.01), (8, 1, 1)),
    ],
)
def test_grouped_leaves_no_split_without_a_group(n_groups, fractions, expected):
    meta = recordings(n_groups, site=range(n_groups))
    table = split(meta, "grouped", fractions, group_column="site")
    assert sizes(table) == dict(zip(("train", "valid", "test"), expected, strict=True))


def test_grouped_needs_groups_enough():
    with pytest.raises(DataError, match=r"1 groups are too few for the fractions \[0\.8, 0\.1"):
        split(recordings(5, site=1), "grouped", group_column="site")


def test_a_fraction_of_nothing_is_an_empty_split(caplog):
    table = split(recordings(10, site=range(10)), "grouped", (0.8, 0, 0.2), group_column="site")
    assert sizes(table) == {"train": 8, "test": 2}
    assert "no recording is in the split valid" in caplog.text


def test_temporal_takes_consecutive_blocks_of_text():
    """As text "10" is before "9"; as numbers it is not."""
    dates = ["2015-10-01", "2015-09-30", "2016-01-01", "2014-12-31", None]
    meta = recordings(5, day=dates)
    table = split(meta, "temporal", (0.5, 0.25, 0.25), date_column="day")
    assert table.to_csv(index=False) == (
        "idx,save_file,split,day\n"
        "3,r3.mat,train,2014-12-31\n"
        "1,r1.mat,train,2015-09-30\n"
        "0,r0.mat,valid,2015-10-01\n"
        "2,r2.mat,test,2016-01-01\n"
    )
    as_numbers = split(
        recordings(3, t=["10", "9", "8"]), "temporal", (0.4, 0.6), ("a", "b"), date_column="t"
    )
    assert list(as_numbers["idx"]) == [2, 1, 0]


def test_temporal_orders_equal_dates_as_pandas_does():
    """fairseq_signals sorts Python's strings by pandas, which is not stable."""
    meta = recordings(60, day=[f"2015-01-{i * 7 % 4 + 10}" for i in range(60)])
    meta["day"] = meta["day"].astype(object)
    table = split(meta, "temporal", date_column="day")
    assert list(table["idx"]) == list(meta.sort_values("day")["idx"])
    assert list(table["idx"]) != list(meta.sort_values("day", kind="stable")["idx"])


def test_dates_that_do_not_sort_as_text_are_reported(caplog):
    split(recordings(3, day=["9/1/2015", "10/1/2014", "1/1/2013"]), "temporal", date_column="day")
    assert "sorted as text" in caplog.text


PATIENTS = ["a", "a", "a", "b", "b", "c", "c", "d", "e", "e"]
"""Train is the first six by date, valid the next two, test the last two: a and b are of train;
c has one recording each in train and valid; d is of valid; e of test."""


@pytest.fixture
def by_date():
    return recordings(10, site=PATIENTS, day=range(2000, 2010))


def grouped_temporal(meta, filter_strategy, **options):
    return split(
        meta,
        "grouped_temporal",
        (0.6, 0.2, 0.2),
        group_column="site",
        date_column="day",
        filter_strategy=filter_strategy,
        **options,
    )


def test_grouped_temporal_names_the_split_of_most_of_a_group(by_date):
    table = grouped_temporal(by_date, False, patients_may_overlap=True)
    assert list(table) == ["idx", "save_file", "split", "site", "site_split", "day"]
    assert list(table["split"]) == ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
    of_site = dict(zip(table["site"], table["site_split"], strict=True))
    assert of_site == {"a": "train", "b": "train", "c": "train", "d": "valid", "e": "test"}


def test_a_tie_goes_to_the_first_label_of_the_alphabet():
    meta = recordings(4, site=["x", "y", "y", "x"], day=range(4))
    table = split(
        meta,
        "grouped_temporal",
        (0.5, 0.5),
        ("train", "test"),
        group_column="site",
        date_column="day",
        filter_strategy=False,
        patients_may_overlap=True,
    )
    assert list(table["site_split"]) == ["test"] * 4


def test_grouped_temporal_with_true_keeps_what_agrees_d8(by_date):
    table = grouped_temporal(by_date, True, keep_columns=["site_split", "site"])
    assert list(table["idx"]) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert list(table) == ["idx", "save_file", "split", "site", "day"]


def test_grouped_temporal_with_a_split_drops_what_one_alone_names(by_date):
    table = grouped_temporal(by_date, "train")
    assert list(table["idx"]) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert "site_split" in table
    with pytest.raises(DataError, match="1 values of site are in more than one split, such as c"):
        grouped_temporal(by_date, "test")


def test_true_in_grouped_temporal_ends_all_overlap():
    rng = np.random.default_rng(3)
    meta = recordings(300, site=rng.integers(0, 40, 300), day=rng.integers(2000, 2020, 300))
    table = grouped_temporal(meta, True)
    assert (table.groupby("site")["split"].nunique() == 1).all()
    with pytest.raises(DataError, match="filter strategy true"):
        grouped_temporal(meta, "train")


@pytest.mark.parametrize("column", ["patient_id", "subject_id", "who"])
@pytest.mark.parametrize("strategy", ["random", "temporal"])
def test_a_patient_in_two_splits_is_an_error(strategy, column, caplog):
    meta = recordings(20, **{column: [i // 2 % 7 for i in range(20)], "day": range(20)})
    options = {"date_column": "day"} if strategy == "temporal" else {}
    options |= {"patient_column": column} if column == "who" else {}
    with pytest.raises(DataError, match=f"values of {column} are in more than one split"):
        split(meta, strategy, **options)
    assert len(split(meta, strategy, patients_may_overlap=True, **options)) == 20
    assert f"values of {column} are in more than one split" in caplog.text


def test_groups_that_are_no_patients_do_not_excuse_patients():
    meta = recordings(20, site=range(20), patient_id=[i % 3 for i in range(20)])
    with pytest.raises(DataError, match="values of patient_id are in more than one split"):
        split(meta, "grouped", group_column="site")


def test_recordings_of_unknown_patients_do_not_overlap():
    meta = recordings(20, patient_id=[None] * 10 + [str(i) for i in range(10)])
    assert len(split(meta, "random")) == 20


@pytest.fixture
def labelled():
    """240 recordings of 120 patients; of three labels the rarest holds in 12 patients."""
    rng = np.random.default_rng(0)
    patients = rng.permutation(np.repeat(np.arange(120), 2))
    holds = np.stack([patients % 10 == 0, patients % 4 == 1, patients % 2 == 0], axis=1)
    meta = recordings(240, patient_id=patients)
    return meta, pd.DataFrame(holds, columns=list("xyz"), index=pd.Index(meta["idx"], name="idx"))


def test_stratified_gives_every_split_its_share_of_every_label(labelled):
    meta, labels = labelled
    table = split(meta, "stratified", (0.5, 0.25, 0.25), stratify_by=labels)
    counts = labels.groupby(table["split"].to_numpy()).sum() / 2
    # 12, 30 and 60 patients; a label can be off by one of those that were dealt for another.
    assert counts.loc["train"].to_numpy() == pytest.approx([6, 15, 30], abs=1)
    assert counts.loc["valid"].to_numpy() == pytest.approx([3, 7.5, 15], abs=1)
    assert counts.loc["test"].to_numpy() == pytest.approx([3, 7.5, 15], abs=1)
    of_patient = table.merge(meta).groupby("patient_id")["split"]
    assert (of_patient.nunique() == 1).all()
    assert of_patient.first().value_counts().to_dict() == pytest.approx(
        {"train": 60, "valid": 30, "test": 30}, abs=2
    )


def test_stratified_is_seeded_and_takes_names_of_files(labelled):
    meta, labels = labelled
    first = split(meta, "stratified", stratify_by=labels, seed=1)
    by_file = labels.set_axis(pd.Index(meta["save_file"], name="save_file"))
    pd.testing.assert_frame_equal(first, split(meta, "stratified", stratify_by=by_file, seed=1))
    assert not first.equals(split(meta, "stratified", stratify_by=labels, seed=2))
    with pytest.raises(DataError, match="none of the labels is of these recordings"):
        split(meta, "stratified", stratify_by=labels.rename(index=lambda idx: idx + 1000))


def test_the_folds_of_ptb_xl():
    meta = recordings(20, strat_fold=[str(i % 10 + 1) for i in range(20)])
    table = split(meta, "column", split_column="strat_fold", split_values=("1-8", "9", "10"))
    expected = {"9": "valid", "10": "test"}
    assert list(table["split"]) == [expected.get(fold, "train") for fold in meta["strat_fold"]]
    floats = meta.assign(strat_fold=meta["strat_fold"].astype(float))
    pd.testing.assert_frame_equal(
        table,
        split(floats, "column", split_column="strat_fold", split_values=("1-8", "9", "10")),
    )


def test_a_column_that_says_the_split_itself():
    meta = recordings(4, split=["train", "test", "valid", "none"])
    table, dropped = Division(strategy="column", split_column="split").divide(meta)
    assert list(table["split"]) == ["train", "test", "valid"]
    assert dropped == {"split is of no split": 1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("1-8", "8|9", "10"), "strat_fold 8 is wanted in both train and valid"),
        (("1-8", "9", "11"), "no strat_fold is 11, wanted for the split test"),
        (("1-8", "9"), "2 values of strat_fold for 3 splits"),
    ],
)
def test_folds_that_do_not_fit(values, message):
    meta = recordings(20, strat_fold=[i % 10 + 1 for i in range(20)])
    with pytest.raises(DataError, match=message):
        split(meta, "column", split_column="strat_fold", split_values=values)


def test_filters_and_datasets():
    meta = recordings(
        6,
        dataset=["a", "a", "b", "b", "c", "a"],
        nan_any=["True", "False", "False", None, "False", "False"],
        flat=[False, False, True, False, False, False],
    )
    division = Division(
        strategy="random",
        fractions=(1,),
        labels=("all",),
        filter_columns=("nan_any", "flat"),
        dataset_subset=("a", "b"),
    )
    table, dropped = division.divide(meta)
    assert list(table["idx"]) == [1, 3, 5]
    assert dropped == {"of other datasets": 1, "nan_any is true": 1, "flat is true": 1}


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("shuffled", {}, "choose one of random, grouped"),
        ("grouped", {}, "'grouped' needs group_column"),
        ("random", {"group_column": "site"}, "'random' has no use for group_column"),
        ("temporal", {}, "needs date_column"),
        ("grouped", {"group_column": "site", "date_column": "t"}, "has no use for date_column"),
        ("stratified", {}, "needs stratify_by"),
        ("column", {}, "needs split_column"),
        ("random", {"fractions": (0.5, 0.5)}, "2 fractions .* for 3 splits"),
        ("random", {"labels": ("a", "a", "b")}, "a name of its own"),
        ("random", {"keep_columns": ("age",)}, "no column 'age'"),
        ("random", {"filter_columns": ("save_file",)}, r"save_file holds 'r0\.mat'"),
        ("random", {"dataset_subset": ("georgia",)}, "no recording is of dataset 'georgia'"),
        (
            "grouped_temporal",
            {"group_column": "site", "date_column": "t", "filter_strategy": "dev"},
            "filter strategy 'dev'",
        ),
    ],
)
def test_mistakes_say_what_to_do(strategy, options, message):
    meta = recordings(20, site=range(20), t=range(20), dataset="ningbo")
    with pytest.raises(DataError, match=message):
        split(meta, strategy, **options)


def test_recordings_must_be_distinguished():
    meta = recordings(3)
    with pytest.raises(DataError, match="idx 1 occurs twice"):
        split(meta.assign(idx=[0, 1, 1]), "random")
    with pytest.raises(DataError, match=r"save_file a\.mat occurs twice"):
        split(meta.assign(save_file="a.mat"), "random")


@settings(max_examples=40, deadline=None)
@given(
    patients=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    strategy=st.sampled_from(["grouped", "stratified"]),
)
def test_every_recording_once_and_no_patient_twice(patients, weights, seed, strategy):
    meta = recordings(len(patients), patient_id=patients)
    labels = pd.DataFrame({"x": np.array(patients) % 3 == 0}, pd.Index(meta["idx"], name="idx"))
    names = [f"s{i}" for i in range(len(weights))]
    options = {"stratify_by": labels} if strategy == "stratified" else {}
    try:
        table = split(
            meta,
            strategy,
            np.array(weights) / sum(weights),
            names,
            seed,
            group_column="patient_id",
            **options,
        )
    except DataError as error:
        assert "too few" in str(error)  # noqa: PT017 (few groups may or may not suffice)
        return
    assert list(table["idx"]) == list(range(len(patients)))
    assert set(table["split"]) <= set(names)
    of_patient = table.groupby("patient_id")["split"]
    assert (of_patient.nunique() == 1).all()
    if strategy == "grouped":
        left, n_groups = 1.0, of_patient.ngroups
        for position, (name, weight) in enumerate(zip(names[:-1], weights, strict=False), 1):
            share = weight / sum(weights) / left
            got = int((of_patient.first() == name).sum())
            most = n_groups - len(names[position:])
            assert 1 <= got <= most
            assert got == pytest.approx(min(share * n_groups, most), abs=1)
            n_groups, left = n_groups - got, left - weight / sum(weights)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 200), weights=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_blocks_have_the_sizes_that_rounding_gives(n, weights):
    if not any(weights):
        return
    names = [f"s{i}" for i in range(len(weights))]
    fractions = complete_fractions(weights)
    bounds = np.round(np.cumsum(fractions) * n).astype(int)
    counts = sizes(split(recordings(n), "random", weights, names))
    assert [counts.get(name, 0) for name in names] == list(np.diff(bounds, prepend=0))


META = """idx,save_file,age,path,sample_size,patient_id,nan_any
0,a.mat,71.30,/raw/a,4096,p1,False
1,b.mat,,/raw/b,2934,p1,True
2,"c,d.mat",8,/raw/c,4096,p2,False
3,e.mat,9,/raw/e,100,p3,False
"""

SEGMENTED = """path,save_file,sample_size
/s/a_0.mat,a.mat,2500
/s/a_10.mat,a.mat,2500
/s/a_2.mat,a.mat,2500
/s/b_0.mat,b.mat,2500
"/s/c,d_0.mat","c,d.mat",2500
,,2500
"""


@pytest.fixture
def processed(tmp_path):
    (tmp_path / "meta.csv").write_text(META)
    (tmp_path / "segmented.csv").write_text(SEGMENTED)
    return tmp_path


def one_split(**options):
    return Division(strategy="random", fractions=(1,), labels=("all",), **options)


def test_tables_are_written_as_they_were_read(processed):
    """Ids stay whole numbers where rows are dropped; fairseq_signals writes 2.0."""
    summary = write_splits(processed, one_split(filter_columns=["nan_any"], keep_columns=["age"]))
    assert (processed / "meta_split.csv").read_text() == (
        'idx,save_file,split,age\n0,a.mat,all,71.30\n2,"c,d.mat",all,8\n3,e.mat,all,9\n'
    )
    assert (processed / "segmented_split.csv").read_text() == (
        "idx,save_file,split,age,path,sample_size\n"
        "0,a.mat,all,71.30,/s/a_0.mat,2500\n"
        "0,a.mat,all,71.30,/s/a_10.mat,2500\n"
        "0,a.mat,all,71.30,/s/a_2.mat,2500\n"
        '2,"c,d.mat",all,8,"/s/c,d_0.mat",2500\n'
    )
    assert summary.recordings == {"all": 3}
    assert summary.segments == {"all": 4}
    assert summary.dropped == {"nan_any is true": 1}


def test_columns_asked_for_twice_are_written_once_d8(processed):
    keep = ["age", "idx", "split", "age", "patient_id"]
    write_splits(processed, one_split(keep_columns=keep))
    header = "idx,save_file,split,age,patient_id"
    assert (processed / "meta_split.csv").read_text().splitlines()[0] == header
    segments = (processed / "segmented_split.csv").read_text().splitlines()
    assert segments[0] == f"{header},path,sample_size"
    assert segments[4] == "1,b.mat,all,,p1,/s/b_0.mat,2500"


def test_a_recordings_path_is_not_that_of_its_segments_d8(processed):
    write_splits(processed, one_split(keep_columns=["path", "sample_size"]))
    meta = (processed / "meta_split.csv").read_text().splitlines()
    assert meta[:2] == ["idx,save_file,split,path,sample_size", "0,a.mat,all,/raw/a,4096"]
    segments = (processed / "segmented_split.csv").read_text().splitlines()
    assert segments[:2] == [
        "idx,save_file,split,recording_path,recording_sample_size,path,sample_size",
        "0,a.mat,all,/raw/a,4096,/s/a_0.mat,2500",
    ]


def test_segments_can_be_left_out_d8(processed):
    (processed / "segmented.csv").unlink()
    with pytest.raises(DataError, match=r"segmented\.csv: no such file"):
        write_splits(processed, one_split(), suffix="_a")
    assert not (processed / "segmented_a.csv").exists()
    summary = write_splits(processed, one_split(), segmented_file=None, suffix="_b")
    assert summary.segments is None
    assert (processed / "meta_b.csv").exists()


def test_dates_of_each_split_are_reported(processed):
    division = Division(
        strategy="temporal", date_column="age", fractions=(0.5, 0.5), labels=("old", "new")
    )
    summary = write_splits(processed, division, segmented_file=None)
    assert summary.dates == {"old": ("8", "9"), "new": ("71.30", "71.30")}
    assert summary.dropped == {"no age": 1}


def test_an_overlap_leaves_no_files(processed):
    with pytest.raises(DataError, match=r"meta\.csv: 1 values of patient_id .* p1 in a and b"):
        write_splits(
            processed,
            Division(
                strategy="temporal", date_column="idx", fractions=(0.25, 0.75), labels=("a", "b")
            ),
        )
    assert not (processed / "meta_split.csv").exists()


def test_parts_of_long_tables_are_joined(processed, monkeypatch):
    write_splits(processed, one_split())
    expected = (processed / "segmented_split.csv").read_text()
    monkeypatch.setattr("fairseq_ecg.data.tables.ROWS_AT_ONCE", 2)
    write_splits(processed, one_split())
    assert (processed / "segmented_split.csv").read_text() == expected


def test_published_splits_are_made_again(shared, tmp_path):
    """The published table of segments is in another order, that of the recordings."""
    published = shared / "ecg" / "code_15"
    for name in ("meta.csv", "segmented.csv"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    write_splits(tmp_path, Division(strategy="random", fractions=(1,), labels=("test",)))
    assert (tmp_path / "meta_split.csv").read_bytes() == (published / "meta_split.csv").read_bytes()
    ours = (tmp_path / "segmented_split.csv").read_text().splitlines()
    theirs = (published / "segmented_split_incomplete.csv").read_text().splitlines()
    assert ours[0] == theirs[0]
    assert sorted(ours) == sorted(theirs)
