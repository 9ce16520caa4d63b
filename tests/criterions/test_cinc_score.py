import numpy as np
import pytest
import torch

from fairseq_ecg.criterions.cinc_score import cinc_scores, read_scoring_weights

CLASSES = ["164889003|164890007", "426783006", "270492004"]
MATRIX = [[1.0, 0.3, 0.5], [0.3, 1.0, 0.4], [0.5, 0.4, 1.0]]


def write(path, names=CLASSES, header=CLASSES, matrix=MATRIX):
    rows = [[name, *map(str, row)] for name, row in zip(names, matrix, strict=True)]
    path.write_text("\n".join(",".join(row) for row in [["", *header], *rows]) + "\n")
    return path


@pytest.fixture
def weights_file(tmp_path):
    return write(tmp_path / "weights.csv")


def test_table_is_read(weights_file):
    weights = read_scoring_weights(weights_file)
    assert weights.classes == tuple(CLASSES)
    assert weights.sinus_rhythm == 1
    np.testing.assert_array_equal(weights.matrix, MATRIX)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["1", *CLASSES[1:]]}, "weights.csv, line 2: is named '1'"),
        (
            {"matrix": [MATRIX[0], [0.3, "x", 1], MATRIX[2]]},
            r"weights.csv, line 3: needs 3 numbers",
        ),
        ({"matrix": [MATRIX[0], [0.3, 1], MATRIX[2]]}, r"weights.csv, line 3: needs 3 numbers"),
        ({"names": CLASSES[:2], "matrix": MATRIX[:2]}, "weights.csv: 2 rows of weights for the 3"),
        ({"names": ["1", "2", "3"], "header": ["1", "2", "3"]}, "weights.csv: no class holds"),
    ],
)
def test_malformed_table(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_scoring_weights(write(tmp_path / "weights.csv", **change))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"weights.txt: .* \.csv"):
        read_scoring_weights(tmp_path / "weights.txt")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=r"empty.csv: holds no weights"):
        read_scoring_weights(tmp_path / "empty.csv")


def test_scores_are_the_challenges(weights_file):
    weights = read_scoring_weights(weights_file)
    rng = np.random.RandomState(0)
    labels, outputs = rng.rand(2, 20, 3) > 0.6

    def confusion_score(answers):
        confusion = np.zeros((3, 3))
        for label, answer in zip(labels, answers, strict=True):
            n = max(1, int((label | answer).sum()))
            for t in np.flatnonzero(label):
                for o in np.flatnonzero(answer):
                    confusion[t, o] += 1 / n
        return (confusion * MATRIX).sum()

    scores = cinc_scores(torch.from_numpy(labels), torch.from_numpy(outputs), weights)
    rhythm = np.zeros_like(labels)
    rhythm[:, 1] = True
    assert scores["o_score"].item() == pytest.approx(confusion_score(outputs), rel=1e-12)
    assert scores["c_score"].item() == pytest.approx(confusion_score(labels), rel=1e-12)
    assert scores["i_score"].item() == pytest.approx(confusion_score(rhythm), rel=1e-12)


class Constant(torch.nn.Module):
    def forward(self, source):
        return source

    def get_logits(self, net_output):
        return net_output

    def get_targets(self, sample, net_output):
        return sample["label"].float()


def batch(logits, labels):
    return {
        "id": torch.arange(len(labels)),
        "net_input": {"source": torch.tensor(logits)},
        "label": torch.tensor(labels),
    }


def test_criterion_reports_the_normalised_score(build, validated, weights_file):
    criterion = build(
        "binary_cross_entropy_with_logits",
        report_cinc_score=True,
        weights_file=str(weights_file),
    ).train()
    labels = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    logits = [[5.0, -5, -5], [-5, 5, -5], [5, -5, -5]]
    log = criterion(Constant(), batch(logits, labels))[2]
    observed, correct, inactive = 1 + 1 + 0.5 / 2, 3, 0.3 / 2 + 1 + 0.4 / 2
    expected = round((observed - inactive) / (correct - inactive), 3)
    assert validated(criterion, [[log], [log]])["cinc_score"] == expected

    only_rhythm = criterion(Constant(), batch([[-5.0, 5, -5]], [[0, 1, 0]]))[2]
    assert validated(criterion, [[only_rhythm]])["cinc_score"] == 0.0

    with pytest.raises(ValueError, match="3 classes, but the model has 2 labels"):
        criterion(Constant(), batch([[1.0, 2]], [[0, 1]]))


@pytest.mark.parametrize("weights_file", [None, "???"])
def test_weights_are_asked_for_only_when_scoring(build, weights_file):
    name = "binary_cross_entropy_with_logits"
    assert build(name, weights_file=weights_file).scoring_weights is None
    with pytest.raises(ValueError, match=r"needs criterion\.weights_file"):
        build(name, weights_file=weights_file, report_cinc_score=True)
