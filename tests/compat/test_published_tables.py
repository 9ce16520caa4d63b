"""Functions for tables and paths, by fairseq_signals' names."""

import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.compat.published import frames, paths, splits

PATHS = pd.Series(["/a/b/c d.mat", "/a/b/e/f.mat", "/a/bb.mat"])


def test_extensions():
    assert [paths.normalize_ext(ext) for ext in ("gz", ".gz", None)] == [".gz", ".gz", None]
    assert paths.normalize_ext(".gz", include_period=False) == "gz"
    assert paths.extract_ext("a/b.tar.gz") == ".gz"
    assert paths.remove_ext("a/b.tar.gz") == "a/b.tar"
    assert paths.replace_ext("a/b.mat", "npy") == "a/b.npy"
    assert list(paths.extract_ext(PATHS)) == [".mat"] * 3
    assert list(paths.replace_ext(PATHS, ".x")) == ["/a/b/c d.x", "/a/b/e/f.x", "/a/bb.x"]
    assert paths.has_ext("a.NPY", "npy")
    assert not paths.has_ext("a.NPY", "npy", case=True)
    assert paths.has_ext(None, "npy")
    with pytest.raises(ValueError, match=r"a\.mat must have extension '\.npy'"):
        paths.has_ext("a.mat", "npy")


def test_names_of_files():
    assert list(paths.extract_filename(PATHS)) == ["c d.mat", "f.mat", "bb.mat"]
    assert list(paths.remove_common_prefix(PATHS)) == ["/c d.mat", "/e/f.mat", "b.mat"]
    assert list(paths.remove_common_segments(PATHS)) == ["b/c d.mat", "b/e/f.mat", "bb.mat"]
    missing = paths.remove_common_segments(pd.Series(["/a/b/c", None, "/a/b/d"]))
    assert missing[0] == "c"
    assert pd.isna(missing[1])
    assert list(paths.filenames_from_paths(PATHS, "npy")) == ["b_c_d.npy", "b_e_f.npy", "bb.npy"]
    with pytest.warns(UserWarning, match="not unique"):
        paths.filenames_from_paths(pd.Series(["a/b c", "a/b_c"]))
    with pytest.raises(ValueError, match="exclude_common_prefix"):
        paths.filenames_from_paths(PATHS, exclude_common_prefix=True)


def test_columns():
    table = pd.DataFrame({"a": [1, 2], "b": [None, None]})
    assert frames.check_cols(table, ["a", "c"]) == ({"b"}, {"a"}, {"c"})
    for option, message in (
        ("raise_err_on_unexpected", "Unexpected columns: b"),
        ("raise_err_on_existing", "Existing columns: a"),
        ("raise_err_on_missing", "Missing columns: c"),
    ):
        with pytest.raises(ValueError, match=message):
            frames.check_cols(table, ["a", "c"], **{option: True})
    assert list(frames.drop_na_cols(table)) == ["a"]
    assert frames.to_list("ab") == ["ab"]
    assert frames.to_list(np.array([1, 2])) == [1, 2]
    assert frames.to_list((1, 2)) == [(1, 2)]


def test_lists_and_arrays_in_a_series():
    exploded = frames.explode_with_order(pd.Series([[5, 6], [7]], index=["x", "y"], name="v"))
    assert exploded.reset_index().to_numpy().tolist() == [["x", 5, 0], ["x", 6, 1], ["y", 7, 0]]
    with pytest.raises(ValueError, match="unique index"):
        frames.explode_with_order(pd.Series([[1], [2]], index=[0, 0]))
    values = pd.Series([np.array([1.0, 2.0]), np.nan], index=[4, 5], name="v")
    table = frames.numpy_series_to_dataframe(values)
    assert list(table) == ["v_0", "v_1"]
    np.testing.assert_array_equal(table.loc[[4, 5]], [[1, 2], [np.nan, np.nan]])


def test_conditions():
    conditions = [pd.Series([True, True, False]), pd.Series([True, False, False])]
    assert list(frames.and_conditions(conditions)) == [True, False, False]
    assert list(frames.or_conditions(conditions)) == [True, True, False]
    with pytest.raises(ValueError, match="boolean"):
        frames.or_conditions([pd.Series([1, 0])])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.8,0.1,0.1", [0.8, 0.1, 0.1]),
        ("[50%, 0.5]", [50 / 50.5, 0.5 / 50.5]),
        (0.75, [0.75, 0.25]),
        ([2, 2], [0.5, 0.5]),
        ([0.25, 0.25], [0.25, 0.25, 0.5]),
    ],
)
def test_fractions(given, expected):
    assert splits.process_fractions(given) == pytest.approx(expected)


def test_fractions_that_are_none():
    with pytest.raises(TypeError, match="int or float"):
        splits.process_fractions(["a"])
    with pytest.raises(ValueError, match="non-negative"):
        splits.process_fractions([-0.1, 1.1])
    with pytest.raises(ValueError, match="negative"):
        splits.fractions_to_split(0.5, -1)


def test_random_splits():
    parts = splits.split_idx([0.5, 0.3, 0.2], 20, seed=4)
    assert [len(part) for part in parts] == [10, 6, 4]
    assert sorted(np.concatenate(parts)) == list(range(20))
    shuffled = np.arange(20)
    np.random.default_rng(4).shuffle(shuffled)
    np.testing.assert_array_equal(parts[0], shuffled[:10])
    ordered = splits.split_idx(0.5, 4, randomize=False)
    assert [part.tolist() for part in ordered] == [[0, 1], [2, 3]]
    table = splits.split_dataframe_col(pd.DataFrame({"x": range(10)}), 0.7, ["a", "b"])
    assert table["split"].value_counts().to_dict() == {"a": 7, "b": 3}
    with pytest.raises(ValueError, match="must match"):
        splits.split_dataframe_col(table, 0.7, ["a"], split_col="other")


def test_groups_stay_together():
    groups = np.repeat(np.arange(20), 5)
    drawn = splits.grouped_splits(groups, "0.8,0.1,0.1", ["a", "b", "c"], random_state=0)
    of_groups = pd.Series(drawn).groupby(groups)
    assert (of_groups.nunique() == 1).all()
    assert of_groups.first().value_counts().to_dict() == {"a": 16, "b": 2, "c": 2}
    with pytest.raises(ValueError, match="1-dimensional"):
        splits.grouped_splits(groups.reshape(20, 5), 0.5)


DATED = pd.DataFrame({"patient": [1, 1, 1, 2, 2, 3], "date": [6, 1, 2, 3, 5, 4]})


def test_splits_by_date():
    table, ends = splits.temporal_splits(DATED, 0.5, "date", ["a", "b"])
    assert list(table["date"]) == [1, 2, 3, 4, 5, 6]
    assert list(table["split"]) == list("aaabbb")
    assert ends == [3]


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [(False, [1, 2, 3, 4, 5, 6]), (True, [1, 2, 3, 4]), ("a", [1, 2, 3, 4]), ("b", [1, 2, 3, 4])],
)
def test_splits_by_date_and_group(strategy, kept):
    labels = np.array(["a", "b"], dtype=object)  # as a script has them
    table, _ = splits.grouped_temporal_splits(
        DATED, 0.5, "patient", "date", labels, filter_strategy=strategy
    )
    assert list(table["date"]) == kept
    if strategy is not True:
        of_patient = table.drop_duplicates("patient").set_index("patient")["patient_split"]
        assert of_patient.to_dict() == {1: "a", 2: "a", 3: "b"}
    with pytest.raises(ValueError, match="must be an item"):
        splits.grouped_temporal_splits(DATED, 0.5, "patient", "date", labels, filter_strategy="c")


def test_a_splitter():
    table = DATED.astype({"patient": float})
    table.loc[5, "patient"] = np.nan
    splitter = splits.DatasetSplitter(
        "grouped", "0.5,0.5", ["a", "b"], group_col="patient", random_state=0
    )
    divided = splitter(table)
    assert len(divided) == 5
    assert divided.groupby("patient")["split"].nunique().eq(1).all()
    with pytest.raises(ValueError, match="Existing columns: split"):
        splitter(divided)
    for arguments, message in (
        (("other", 0.5, "ab"), "Unrecognized strategy other"),
        (("grouped", 0.5, "ab"), "`group_col` is required"),
        (("random", 0.5, "ab", "patient"), "Cannot specify `group_col`"),
        (("random", 0.5, "abc"), "does not match"),
    ):
        with pytest.raises(ValueError, match=message):
            splits.DatasetSplitter(*arguments)
