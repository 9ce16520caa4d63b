import pandas as pd
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.plots import draw


def meta(folder, seconds, n_datasets=2):
    pd.DataFrame(
        {
            "dataset": [f"d{i % n_datasets}" for i in range(len(seconds))],
            "sample_rate": 500,
            "sample_size": [500 * value for value in seconds],
            "lead_order": str(list(LEADS[:3])),
            "nan_leads": "[]",
            "constant_leads": "['II']",
        }
    ).to_csv(folder / "meta.csv")


@pytest.mark.parametrize("seconds", [[10] * 5, [10, 10, 10, 86400], [3]])
def test_pictures_of_any_durations(tmp_path, seconds):
    meta(tmp_path, seconds)
    drawn = draw(tmp_path, tmp_path / "plots")
    assert [path.name for path in drawn] == ["durations.png", "rates.png", "leads.png"]
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_labels_are_drawn_where_there_are_some(tmp_path):
    meta(tmp_path, [10, 10])
    (tmp_path / "labels").mkdir()
    labels = pd.DataFrame({"idx": [0, 1]} | {f"label {i}": [0, 1] for i in range(50)})
    labels.to_csv(tmp_path / "labels" / "labels.csv", index=False)
    assert draw(tmp_path, tmp_path / "plots")[-1].name == "labels.png"


def test_without_meta_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(DataError, match=r"meta\.csv: no such file"):
        draw(tmp_path, tmp_path / "plots")
