import io

import numpy as np
import pytest
import scipy.io

from fairseq_ecg.formats.mat_files import with_variable, without_variable

FEATS = np.random.default_rng(0).normal(size=(12, 50))
OTHERS = {"curr_sample_rate": 500, "ecg": [[1, 2]], "feats_of_another": "text", "mean": FEATS[:1]}


def mat_file(variables, **options) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_variable_is_cut_out_and_put_back(is_compressed, index):
    items = list(OTHERS.items())
    variables = dict([*items[:index], ("feats", FEATS), *items[index:]])
    content = mat_file(variables, do_compression=is_compressed)
    rest, start, was_compressed = without_variable(content, "feats")
    assert was_compressed == is_compressed
    loaded = scipy.io.loadmat(io.BytesIO(rest))
    assert "feats" not in loaded
    assert loaded.keys() >= OTHERS.keys()
    assert with_variable(rest, "feats", FEATS, start, is_compressed) == content
    changed = with_variable(rest, "feats", FEATS + 1, start, is_compressed)
    np.testing.assert_array_equal(scipy.io.loadmat(io.BytesIO(changed))["feats"], FEATS + 1)


def test_names_short_enough_for_a_tag_are_found():
    content = mat_file({"idx": 3, "feats": FEATS})
    rest, _, _ = without_variable(content, "idx")
    assert [name for name, *_ in scipy.io.whosmat(io.BytesIO(rest))] == ["feats"]


def test_files_without_it_or_of_another_level_are_left_alone():
    assert without_variable(mat_file({"idx": 3}), "feats") is None
    assert without_variable(mat_file({"feats": FEATS}, format="4"), "feats") is None
    assert without_variable(b"", "feats") is None
