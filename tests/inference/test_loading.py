import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from fairseq_ecg.compat.checkpoint import load_checkpoint
from fairseq_ecg.ecg.conditioning import LeadStatistics
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.inference import ECG_FM_LABELS, ECGModel, Preprocessing, load_model

WITHOUT_FAIRSEQ = """
    import sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("fairseq", "fairseq_cli", "hydra", "omegaconf"):
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Absent())
    import fairseq_ecg
    assert "torch" not in sys.modules
    import numpy as np
    model = fairseq_ecg.load_model(sys.argv[1], labels=list("abcdefgh"))
    ecg = np.load(sys.argv[2])
    print(model.predict(ecg, sample_rate=400).table.loc[0, "a"])
    print(len(np.asarray(model.embed(ecg, sample_rate=400))))
"""


def test_fairseq_is_not_needed(shared, code_15_ecgs, tmp_path, diagnosis):
    np.save(tmp_path / "ecg.npy", code_15_ecgs[0])
    checkpoint = shared / "golden" / "diagnosis_small.pt"
    arguments = [str(checkpoint), str(tmp_path / "ecg.npy")]
    program = textwrap.dedent(WITHOUT_FAIRSEQ)
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    probability, n_recordings = run.stdout.split()
    expected = diagnosis.predict(code_15_ecgs[0], sample_rate=400).table.loc[0, "is_male"]
    assert float(probability) == pytest.approx(expected, abs=1e-7)
    assert n_recordings == "1"


def test_labels_are_those_given_stored_beside_or_numbered(shared, diagnosis, tmp_path):
    path = shutil.copy(shared / "golden" / "diagnosis_small.pt", tmp_path)
    with pytest.warns(
        UserWarning, match=r"labels have no names and are numbered\. Put the label_d"
    ):
        numbered = load_model(path)
    assert numbered.labels == tuple(f"label_{number}" for number in range(8))
    shutil.copy(shared / "ecg" / "code_15" / "labels" / "label_def.csv", tmp_path)
    assert load_model(path).labels == diagnosis.labels
    assert load_model(tmp_path).labels == diagnosis.labels
    assert load_model(path, labels=list("abcdefgh")).labels == tuple("abcdefgh")
    (tmp_path / "label_def.csv").write_text("name\na\nb\n")
    with pytest.raises(DataError, match=r"predicts 8 labels, .*label_def\.csv names 2\."):
        load_model(path)
    with pytest.raises(DataError, match=r"predicts 8 labels, the labels given names 17\."):
        load_model(path, labels=ECG_FM_LABELS)
    with pytest.raises(DataError, match="predicts no labels, the labels given names 1"):
        load_model(shared / "golden" / "pretrain_small.pt", labels=["a"])
    state = load_checkpoint(path)
    state["task_state"] = {"fairseq_ecg": {"labels": list("hgfedcba"), "sample_rate": 250.0}}
    torch.save(state, path)
    noted = load_model(path)
    assert noted.labels == tuple("hgfedcba")
    assert noted.preprocessing.sample_rate == 250
    assert noted.preprocessing.segment_samples == 1250


def test_published_labels_are_those_of_the_label_definition(shared):
    from fairseq_ecg.data.label_file import read_label_names
    from fairseq_ecg.inference.aggregation import BY_MAXIMUM

    path = shared / "labeler" / "mimic_iv_ecg_label_def.csv"
    assert read_label_names(path) == list(ECG_FM_LABELS)
    assert set(ECG_FM_LABELS) >= BY_MAXIMUM


def changed(shared, tmp_path, change):
    state = load_checkpoint(shared / "golden" / "diagnosis_small.pt")
    change(state)
    torch.save(state, tmp_path / "changed.pt")
    return tmp_path / "changed.pt"


def remove_weight(state):
    del state["model"]["proj.bias"]


def add_weight(state):
    state["model"]["adapter.weight"] = torch.zeros(1)


def reshape_weight(state):
    state["model"]["encoder.layer_norm.weight"] = torch.zeros(7)


def rename_model(state):
    state["cfg"]["model"]["_name"] = "resnet"


def forget_labels(state):
    del state["cfg"]["model"]["num_labels"]


def widen_heads(state):
    state["cfg"]["model"]["encoder_attention_heads"] = 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_weight, r"changed\.pt does not fit the model: missing proj\.bias"),
        (add_weight, r"does not fit the model: left over adapter\.weight"),
        (reshape_weight, r"layer_norm\.weight: copying a param with shape"),
        (rename_model, "model 'resnet' is not known here; known are ecg_transformer, wav2vec2"),
        (forget_labels, "num_labels"),
        (widen_heads, "encoder_attention_heads=5 does not divide"),
    ],
)
def test_weights_and_architecture_must_fit(shared, tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_model(changed(shared, tmp_path, change), labels=list("abcdefgh"))


def test_pre_training_heads_must_fit_too(shared, tmp_path):
    state = load_checkpoint(shared / "golden" / "pretrain_small.pt")
    del state["model"]["quantizer.vars"]
    torch.save(state, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=r"missing quantizer\.vars"):
        load_model(tmp_path / "changed.pt")


def test_untrained_networks_differ_by_their_seed_alone(diagnosis, shared):
    path = shared / "golden" / "diagnosis_small.pt"
    first, again, other = (
        load_model(
            path, device="cpu", labels=diagnosis.labels, untrained_seed=seed
        ).network.state_dict()
        for seed in (1, 1, 2)
    )
    trained = diagnosis.network.state_dict()
    assert first.keys() == trained.keys()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["proj.weight"], other["proj.weight"])
    assert not torch.equal(first["proj.weight"], trained["proj.weight"])


def test_folders_hold_one_checkpoint_or_say_which(shared, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist"):
        load_model(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match=r"a/none\.pt does not exist"):
        load_model("a/none.pt")
    with pytest.raises(CheckpointError, match=r"holds neither config\.json"):
        load_model(tmp_path)
    for name in ("a.pt", "b.pt"):
        shutil.copy(shared / "golden" / "pretrain_small.pt", tmp_path / name)
    with pytest.raises(CheckpointError, match=r"holds a\.pt, b\.pt: say which one by filename='a"):
        load_model(tmp_path)
    assert load_model(tmp_path, filename="b.pt").embed_dim == 64


def test_a_repository_of_the_hub(diagnosis, shared, tmp_path, monkeypatch, code_15_ecgs):
    import huggingface_hub

    asked = []

    def snapshot_download(repository, revision, allow_patterns, local_files_only):
        asked.append((repository, revision, *allow_patterns))
        return str(tmp_path)

    files = ["a.pt", "b.pt"]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: files)
    with pytest.raises(CheckpointError, match=r"the repository owner/ecg holds a\.pt, b\.pt: say"):
        load_model("owner/ecg")
    shutil.copy(shared / "golden" / "pretrain_small.pt", tmp_path / "a.pt")
    assert load_model("owner/ecg", filename="a.pt", revision="v1").embed_dim == 64
    assert asked[-1] == ("owner/ecg", "v1", "a.pt", "label_def.csv")
    diagnosis.save_pretrained(tmp_path)
    model = ECGModel.from_pretrained("owner/ecg", device="cpu")
    expected = diagnosis.predict(code_15_ecgs[0], sample_rate=400).table
    assert model.predict(code_15_ecgs[0], sample_rate=400).table.equals(expected)

    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match="owner/ecg is neither a path nor a repository"):
        load_model("owner/ecg")


def test_the_preprocessing_is_that_of_the_task(shared, tmp_path):
    for name, value in (("mean", 0.5), ("std", 2.0)):
        (tmp_path / name).write_text(f"{value}\n" * 12)
    task = {
        "leads_to_load": "['V1', 'I']",
        "normalize": True,
        "mean_path": str(tmp_path / "mean"),
        "std_path": str(tmp_path / "std"),
        "sample_rate": 250,
        "max_sample_size": 500,
        "path_dataset": True,
        "filter": False,
        "perturbation_mode": None,
    }
    statistics = LeadStatistics.read(tmp_path / "mean", tmp_path / "std")
    found = Preprocessing.of_task(task, statistics=statistics)
    assert (found.leads, found.mean[0], found.std[11]) == (("V1", "I"), 0.5, 2.0)
    assert (found.sample_rate, found.segment_seconds, found.standardise) == (250, 2, False)
    assert Preprocessing.of_json(found.to_json()) == found
    assert Preprocessing.of_task({}) == Preprocessing()
    noted = {name: list(getattr(statistics, name)) for name in ("mean", "std")}
    assert Preprocessing.of_task(task, noted) == found
    with pytest.raises(DataError, match=r"mean'.*std'\)\. Give both files: --mean-path"):
        Preprocessing.of_task(task)
    with pytest.raises(DataError, match="were not normalised: leave out mean_path"):
        Preprocessing.of_task({}, statistics=statistics)
    with pytest.raises(DataError, match="leads_bucket"):
        Preprocessing.of_task({"leads_bucket": "['I', 'II']"})
    with pytest.raises(DataError, match="whitening is not known here"):
        Preprocessing.of_json(found.to_json() | {"whitening": True})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bf16"}, "dtype='bf16': choose float32, bfloat16 or float16"),
        ({"dtype": torch.int8}, "dtype=torch.int8: choose"),
        ({"device": "gpu9"}, "device gpu9: "),
    ],
)
def test_there_must_be_such_a_type_and_device(options, message, shared):
    with pytest.raises(DataError, match=message):
        load_model(shared / "golden" / "pretrain_small.pt", **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "which `git lfs pull`"),
        (b"<!DOCTYPE html><html>not found</html>", r"begins with b'<!DOCTYPE html"),
        (b"", "cannot be read: it is truncated"),
    ],
    ids=["pointer", "page", "empty"],
)
def test_what_came_in_place_of_a_checkpoint(content, message, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path / "a.pt")
    assert type(caught.value) is CheckpointError  # nobody is asked to trust it


def test_heavy_imports_wait():
    program = (
        "import sys, fairseq_ecg; "
        "print(*{'torch', 'numpy', 'pandas', 'fairseq', 'wfdb'} & set(sys.modules)); "
        "fairseq_ecg.nothing"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == ""
    assert "AttributeError: module 'fairseq_ecg' has no attribute 'nothing'" in run.stderr
