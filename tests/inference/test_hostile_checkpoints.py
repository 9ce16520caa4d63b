"""Checkpoints and folders of models in which something is wrong: one error that names the file."""

import copy
import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

import fairseq_ecg.huggingface
import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.cli import main
from fairseq_ecg.compat.checkpoint import UnsafeCheckpointError
from fairseq_ecg.compat.pickled import check_tuples
from fairseq_ecg.compat.restoring import restore, sorted_overrides
from fairseq_ecg.compat.training import load_checkpoint_to_cpu
from fairseq_ecg.errors import CheckpointError, DataError, shortened
from fairseq_ecg.inference import load_model
from fairseq_ecg.models import ECGTransformerClassificationConfig, build_model_from_checkpoint
from fairseq_ecg.models.pretrained import load_encoder
from tests.conftest import TINY_CMSC_MODEL
from tests.ecg_texts import write_vocabulary
from tests.tiny_checkpoints import CLASSIFIER, made

REFUSED = (CheckpointError, DataError)


@pytest.fixture(scope="module")
def states():
    return {"classifier": made(CLASSIFIER), "pretrained": made(TINY_CMSC_MODEL)}


@pytest.fixture
def saved(states, tmp_path):
    def save(change=None, kind="classifier", **options):
        state = copy.deepcopy(states[kind])
        changed = change(state) if change else None
        path = tmp_path / "changed.pt"
        torch.save(state if changed is None else changed, path, **options)
        return path

    return save


def encoder_of(path):
    options = {"model_path": str(path), "num_labels": 3, "normalize": False, "filter": False}
    options["data"] = ""
    return load_encoder(OmegaConf.merge(ECGTransformerClassificationConfig(), options))


READERS = {
    "load_model": lambda path: load_model(path, device="cpu"),
    "build_model": build_model_from_checkpoint,
    "restore": lambda path: restore(path, sorted_overrides({})),
    "load_encoder": encoder_of,
    "resume": load_checkpoint_to_cpu,
}


def refusal(read, path):
    """The message of an error that is one of those, None where nothing is wrong."""
    try:
        read(path)
    except REFUSED as error:
        return str(error)


def test_what_is_changed_below_loads(saved):
    for kind in ("classifier", "pretrained"):
        path = saved(kind=kind)
        for name, read in READERS.items():
            if (kind, name) != ("pretrained", "restore"):  # which has no such task
                read(path)


def put(*keys, value):
    """A change of a checkpoint: the value at these keys."""

    def change(state):
        holder = state
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value

    change.__name__ = f"{'.'.join(map(str, keys))}={shortened(value)[:40]}"
    return change


def drop(*keys):
    def change(state):
        holder = state
        for key in keys[:-1]:
            holder = holder[key]
        del holder[keys[-1]]

    change.__name__ = f"no {'.'.join(keys)}"
    return change


def whole(value):
    def change(state):
        return value

    change.__name__ = f"a {type(value).__name__} in place of the checkpoint"
    return change


def laughs(levels=40):
    value = ["ha"] * 2
    for _ in range(levels):
        value = [value, value]
    return value


def cycle():
    value = {}
    value["again"] = value
    return value


MODEL = ("cfg", "model")
PROJ = ("model", "proj.weight")

CONFIGURATIONS = [
    *(put("cfg", value=value) for value in (None, [], "cfg", 3, torch.zeros(2))),
    *(put("cfg", "model", value=value) for value in (None, [], "x", 3, {}, [("_name", "x")])),
    *(put(*MODEL, "_name", value=value) for value in (None, 3, "resnet", [], {}, laughs())),
    *(
        put(*MODEL, "encoder_layers", value=value)
        for value in (None, "2", "many", 0, -1, 1.5, True, 10**6, 10**400, 2**62, [1], 2)
    ),
    *(
        put(*MODEL, "encoder_embed_dim", value=value)
        for value in (None, "16", 0, -16, 10**9, 17, 16.0)
    ),
    *(put(*MODEL, "encoder_ffn_embed_dim", value=value) for value in (0, -1, 10**12, 10**5, {})),
    *(put(*MODEL, "encoder_attention_heads", value=value) for value in (0, -2, 3, "2", 10**9)),
    *(
        put(*MODEL, "conv_feature_layers", value=value)
        for value in (
            None,
            3,
            "",
            "os.system('true')",
            "__import__('os').system('true')",
            "[(8, 2, 2)] * 1000000000",
            "[(8, 2, 2)] * 1000 * 1000 * 1000",
            "'a' * 10000000000",
            "(" * 500,
            "[" * 5000 + "]" * 5000,
            "[(8, 2, 2)] * -1",
            "[(8, 0, 2)] * 4",
            "[(8, 2, -2)] * 4",
            "[(8, 2, 1000000000)] * 4",
            "[(8, 1000000000, 2)] * 4",
            "[(1000000000, 2, 2)] * 4",
            f"[({'9' * 5000}, 2, 2)]",
            "${oc.env:HOME}",
            [[8, 2]],
            [["8", "2", "2"]],
            [[8.5, 2, 2]],
            {},
            laughs(),
        )
    ),
    *(put(*MODEL, "in_d", value=value) for value in (0, -12, 1, "12", 10**9, None)),
    *(put(*MODEL, "conv_pos", value=value) for value in (0, -4, 10**9, "4", 5)),
    *(put(*MODEL, "conv_pos_groups", value=value) for value in (0, -2, 3, 10**9)),
    *(
        put(*MODEL, "dropout", value=value)
        for value in (-0.1, 1.5, "0.1", None, float("nan"), float("inf"), 10**400, [0.1])
    ),
    put(*MODEL, "encoder_layerdrop", value=2),
    put(*MODEL, "final_dropout", value=-1),
    *(put(*MODEL, "extractor_mode", value=value) for value in ("fancy", None, 3, [], laughs())),
    *(put(*MODEL, "layer_norm_first", value=value) for value in ("no", 1, None)),
    *(put(*MODEL, "conv_bias", value=value) for value in ("yes", True)),
    put(*MODEL, "feature_grad_mult", value="x"),
    *(put(*MODEL, "num_labels", value=value) for value in (None, 0, -2, 3, "2", 10**12, "???")),
    drop(*MODEL, "num_labels"),
    *(put(*MODEL, "pooling", value=value) for value in ("median", None, {}, "attentive")),
    *(put(*MODEL, "lora_rank", value=value) for value in (-1, "4", 4, 10**9)),
    *(put(*MODEL, "lora_targets", value=value) for value in (None, "q_proj", [3])),
    *(put(*MODEL, "freeze_layers", value=value) for value in (5, -2, "all")),
    put(*MODEL, "unknown", value=laughs()),
    put(*MODEL, "unknown", value=cycle()),
    *(put("cfg", "task", value=value) for value in ("task", 3, ["data"])),
    *(
        put("cfg", "task", "leads_to_load", value=value)
        for value in (3, "code()", [99], ["I", "I"], [[]], "[0] * 10", {"a": 1}, "(" * 500)
    ),
    put("cfg", "task", "leads_bucket", value="['I', 'II']"),
    *(
        put("cfg", "task", "sample_rate", value=value)
        for value in (-1, "fast", float("nan"), 1e300, 1e-7, [500], 10**400)
    ),
    *(put("cfg", "task", "max_sample_size", value=value) for value in (-5, "x", 1e-9, [2])),
    put("cfg", "task", "normalize", value=True),
    *(put("cfg", "criterion", value=value) for value in ("c", ["c"])),
    *(
        put("cfg", "criterion", value={"_name": "regression", "target_mean": value})
        for value in ([1.0], "ab", [None, 1.0], [float("nan"), 1.0], 3)
    ),
    put("cfg", "criterion", value={"_name": "regression", "target_std": [0.0, 1.0]}),
    *(put("task_state", value=value) for value in ("state", 3, [1])),
    *(put("task_state", "fairseq_ecg", value=value) for value in ("notes", 3)),
    *(
        put("task_state", "fairseq_ecg", "labels", value=value)
        for value in ("AF", ["AF"], [1, 2], {"AF": 1}, laughs())
    ),
    *(put("task_state", "fairseq_ecg", "sample_rate", value=value) for value in ("x", -5, [1])),
    put("task_state", "fairseq_ecg", "segment_seconds", value=1e9),
    *(put("optimizer_history", value=value) for value in ("h", 3, ["h"], {"num_updates": 3})),
    *(
        put("optimizer_history", 0, "num_updates", value=value)
        for value in ("many", None, -3, 1.5, 10**400)
    ),
    *(put("model", value=value) for value in (None, [], "weights", {}, torch.zeros(3))),
    *(put(*PROJ, value=value) for value in (None, "x", [1.0, 2.0], np.float64(1))),
    drop(*PROJ),
    put("model", "left.over", value=torch.zeros(1)),
    put("model", 7, value=torch.zeros(1)),
    put(*PROJ, value=torch.zeros(16, 2)),
    put(*PROJ, value=torch.zeros(1).expand(10**9, 10**9)),
    put(*PROJ, value=torch.full((2, 16), float("nan"))),
    put(*PROJ, value=torch.full((2, 16), float("inf"), dtype=torch.float16)),
    put(*PROJ, value=torch.zeros(2, 16, dtype=torch.complex64)),
    *(
        put(*PROJ, value=torch.ones(2, 16, dtype=dtype))
        for dtype in (torch.int64, torch.uint8, torch.bool)
    ),
    put(*PROJ, value=torch.full((2, 16), float("nan")).to(torch.float8_e4m3fn)),
    put(*PROJ, value=torch.zeros(2, 16).to_sparse()),
    put(*PROJ, value=torch.zeros(2, 16, device="meta")),
    *(whole(value) for value in ([], 3, "text", torch.zeros(3), {}, {"weights": {}})),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("number", "change"), list(enumerate(CONFIGURATIONS)), ids=lambda x: getattr(x, "__name__", "")
)
def test_whatever_is_wrong_is_one_error_that_names_the_file(number, change, saved):
    path = saved(change)
    with pytest.raises(REFUSED) as caught:
        load_model(path, device="cpu")
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 1500
    # The other ways to read a checkpoint look at other parts of it, one of them in each test.
    other = list(READERS)[1 + number % (len(READERS) - 1)]
    assert str(path) in (refusal(READERS[other], path) or str(path))


class Code:
    def __reduce__(self):
        return os.system, ("exit 3",)


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())


def compressed(path):
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, record in records.items():
            archive.writestr(name, record)


def of_other_records(path, change):
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)


def without_tensors(records):
    for name in [name for name in records if "/data/" in name]:
        del records[name]


def with_short_tensors(records):
    for name in [name for name in records if "/data/" in name]:
        records[name] = records[name][:4]


def of_another_pickle(content):
    def change(records):
        records[next(name for name in records if name.endswith("data.pkl"))] = content

    return change


def key_of_tuples(levels):
    """A pickle of a dict with one key, a tuple of twice the same tuple, and so on."""
    value = b")q\x00"
    for level in range(levels):
        value += b"h" + bytes([level]) + b"\x86q" + bytes([level + 1])  # with itself; remembered
    return b"\x80\x02}" + value + b"Ns."


FILES = {
    "tuples": lambda path: of_other_records(path, of_another_pickle(key_of_tuples(60))),
    "tuples in legacy form": lambda path: path.write_bytes(key_of_tuples(60) * 4),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("model: none"),
    "page": lambda path: path.write_text("<!DOCTYPE html><html></html>"),
    "pointer": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "begin": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "end": lambda path: path.write_bytes(path.read_bytes()[-1000:]),
    "tail lost": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "tar": tar,
    "compressed": compressed,
    "empty archive": lambda path: zipfile.ZipFile(path, "w").close(),
    "other archive": lambda path: of_other_records(path, lambda records: records.clear()),
    "no tensors": lambda path: of_other_records(path, without_tensors),
    "short tensors": lambda path: of_other_records(path, with_short_tensors),
    "no pickle": lambda path: of_other_records(path, of_another_pickle(b"\xff" * 40)),
    "short pickle": lambda path: of_other_records(path, of_another_pickle(b"\x80\x02}q\x00")),
    "empty pickle": lambda path: of_other_records(path, of_another_pickle(b"")),
    "plain pickle": lambda path: path.write_bytes(pickle.dumps({"model": {}}, protocol=4)),
    "legacy half": lambda path: path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
    "script": lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path),
    "safetensors": lambda path: save_file({"x": torch.zeros(2)}, path),
    "numpy": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"),
    "code": lambda path: torch.save({"model": {}, "cfg": Code()}, path),
    "code in legacy form": lambda path: torch.save(
        {"model": {}, "cfg": Code()}, path, _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize("change", FILES.values(), ids=FILES)
def test_what_is_no_checkpoint_at_all(change, saved):
    path = saved()
    change(path)
    with pytest.raises(CheckpointError) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)
    for read in (build_model_from_checkpoint, load_checkpoint_to_cpu):
        with pytest.raises(CheckpointError):
            read(path)


def test_folders_links_and_pipes(saved, tmp_path):
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.pt is a folder: give the \.pt file"):
        build_model_from_checkpoint(tmp_path / "folder.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "link.pt").symlink_to(tmp_path / "nowhere.pt")
    for name in ("pipe.pt", "link.pt", "none.pt"):
        with pytest.raises(FileNotFoundError, match=f"checkpoint .*{name} does not exist"):
            load_model(tmp_path / name)


class TestChecksums:
    """A bit that changed on the way is noticed, wherever it is."""

    def test_every_changed_value_is_refused(self, saved):
        path = saved()
        content = path.read_bytes()
        expected = torch.load(path, weights_only=True)["model"]
        generator = np.random.default_rng(0)
        refused = 0
        for position in generator.integers(len(content), size=60):
            changed = bytearray(content)
            changed[position] ^= 1 << generator.integers(8)
            path.write_bytes(changed)
            message = refusal(load_model, path)
            if message is not None:
                assert str(path) in message
                refused += 1
                continue
            # Between the records, where nothing is.
            found = load_model(path, device="cpu").network.state_dict()
            assert all(torch.equal(value, expected[name]) for name, value in found.items())
        assert refused > 30

    @pytest.fixture
    def damaged(self, saved):
        path = saved()
        with zipfile.ZipFile(path) as archive:
            record = next(one for one in archive.infolist() if one.filename.endswith("/data/0"))
        content = bytearray(path.read_bytes())
        lengths = struct.unpack("<HH", content[record.header_offset + 26 :][:4])
        content[record.header_offset + 30 + sum(lengths)] ^= 1  # the least of a weight
        path.write_bytes(content)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip()
        return path

    @pytest.mark.parametrize("read", READERS.values(), ids=READERS)
    def test_it_is_read_all_the_same_on_demand(self, read, damaged, monkeypatch, caplog):
        with pytest.raises(CheckpointError, match=r"the checksum of .* differs.*--allow-damaged"):
            read(damaged)
        monkeypatch.setenv("FAIRSEQ_ECG_ALLOW_DAMAGED", "1")
        read(damaged)
        assert "is read although the checksum of" in caplog.text

    def test_by_an_argument(self, damaged):
        assert load_model(damaged, allow_damaged=True, device="cpu").labels == ("AF", "ST")
        assert build_model_from_checkpoint(damaged, allow_damaged=True)

    def test_on_the_command_line(self, damaged, tmp_path, capsys):
        np.save(tmp_path / "ecg.npy", np.random.default_rng(0).normal(size=(12, 1000)))
        command = ["predict", str(damaged), str(tmp_path / "ecg.npy"), "--sample-rate=100"]
        command.append(f"--out={tmp_path / 'out.csv'}")
        assert main(command) == 2
        assert "Copy or download it again; to read it all the same" in capsys.readouterr().err
        assert main([*command, "--allow-damaged"]) == 0

    def test_a_file_format_without_checksums_is_said(self, saved, caplog, monkeypatch):
        load_model(saved(), device="cpu")
        assert "checksum" not in caplog.text
        load_model(saved(_use_new_zipfile_serialization=False), device="cpu")
        assert "changed.pt has no checksums" in caplog.text
        caplog.clear()
        torch.serialization.set_crc32_options(False)
        try:
            path = saved()
        finally:
            torch.serialization.set_crc32_options(True)
        load_model(path, device="cpu")
        assert "changed.pt has no checksums" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_weights(dtype, saved):
    def change(state):
        state["model"] = {name: value.to(dtype) for name, value in state["model"].items()}

    for read in READERS.values():
        read(saved(change))


def test_the_remedy_of_a_limit_is_one(saved, monkeypatch):
    path = saved()
    monkeypatch.setenv("FAIRSEQ_ECG_LIMITS", "width=15")
    with pytest.raises(DataError, match=r"changed\.pt, .* says 16 channels of a layer") as caught:
        load_model(path, device="cpu")
    monkeypatch.setenv(*re.search(r"set (FAIRSEQ_ECG_LIMITS)=(\S+) in", str(caught.value)).groups())
    load_model(path, device="cpu")


class TestNothingIsOpenedOrResolved:
    """What a checkpoint names is another's business, and the environment is none of its own."""

    @pytest.fixture
    def secret(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SECRET", "s3cr3t")
        (tmp_path / "label_def.csv").write_text("name\ns3cr3t\nother\n")
        (tmp_path / "secret").write_text("s3cr3t\n")
        return str(tmp_path / "secret")

    @pytest.fixture
    def normalised(self, saved, secret):
        def change(state):
            state["cfg"]["task"] |= {"normalize": True, "mean_path": secret, "std_path": secret}

        return saved(change)

    def test_statistics(self, normalised, secret, tmp_path):
        with pytest.raises(
            DataError, match="Give both files: --mean-path and --std-path"
        ) as caught:
            load_model(normalised, device="cpu")
        assert secret in str(caught.value)
        assert "s3cr3t" not in str(caught.value)
        for name, value in (("mean.txt", 0.5), ("std.txt", 2.0)):
            (tmp_path / name).write_text(f"{value}\n" * 12)
        paths = {"mean_path": tmp_path / "mean.txt", "std_path": tmp_path / "std.txt"}
        model = load_model(normalised, device="cpu", **paths)
        assert (model.preprocessing.mean[3], model.preprocessing.std[3]) == (0.5, 2.0)
        with pytest.raises(DataError, match="mean_path and std_path need each other"):
            load_model(normalised, mean_path=paths["mean_path"])

    def test_statistics_on_the_command_line(self, normalised, tmp_path, capsys):
        np.save(tmp_path / "ecg.npy", np.random.default_rng(0).normal(size=(12, 1000)))
        command = ["embed", str(normalised), str(tmp_path / "ecg.npy"), "--sample-rate=100"]
        command.append(f"--out={tmp_path / 'out.npy'}")
        assert main(command) == 2
        assert "Give both files: --mean-path and --std-path" in capsys.readouterr().err
        for name, value in (("mean", 0.5), ("std", 2.0)):
            (tmp_path / f"{name}.txt").write_text(f"{value}\n" * 12)
            command.append(f"--{name}-path={tmp_path / name}.txt")
        assert main(command) == 0

    def test_statistics_that_training_noted(self, saved):
        def change(state):
            state["cfg"]["task"]["normalize"] = True
            state["task_state"]["fairseq_ecg"] |= {"mean": [0.5] * 12, "std": [2.0] * 12}

        assert load_model(saved(change), device="cpu").preprocessing.std == (2.0,) * 12

        def damage(state):
            change(state)
            state["task_state"]["fairseq_ecg"]["std"] = [0.0] * 12

        with pytest.raises(DataError, match=r"changed\.pt: the standard deviation of I is not"):
            load_model(saved(damage), device="cpu")

    def test_names_of_labels(self, saved, secret, tmp_path):
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        (tmp_path / "label_def.csv").rename(folder / "label_def.csv")

        def change(state):
            state["task_state"] = {}
            state["cfg"]["task"]["label_file"] = str(folder / "y.npy")

        with pytest.warns(
            UserWarning, match=r"which was label_def\.csv beside '.*elsewhere/y\.npy'"
        ):
            model = load_model(saved(change), device="cpu")
        assert model.labels == ("label_0", "label_1")

    @pytest.mark.parametrize("labelled", [True, False])
    @pytest.mark.parametrize(
        ("section", "key", "option"),
        [
            ("task", "data", {}),
            ("task", "mean_path", {"normalize": True}),
            ("task", "std_path", {"normalize": True}),
            ("criterion", "weights_file", {"report_cinc_score": True}),
        ],
    )
    def test_files_of_programs(self, section, key, option, labelled, saved, secret):
        def change(state):
            state["cfg"]["task"]["data"] = "???"
            state["cfg"][section] |= {key: secret} | option

        path = saved(change)
        _, cfg, task = restore(path, sorted_overrides({}))
        assert secret not in OmegaConf.to_yaml(cfg) + OmegaConf.to_yaml(task.cfg)
        if labelled or key != "weights_file":
            with pytest.raises(
                DataError, match=f"because a checkpoint names it: give {section}.{key}"
            ):
                restore(path, sorted_overrides({}), labelled=labelled)
            given = sorted_overrides({section: {key: secret}})
            assert restore(path, given, labelled=labelled)[1][section][key] == secret
        else:
            restore(path, sorted_overrides({}), labelled=labelled)

    def test_a_vocabulary_is_the_one_that_was_noted(self, saved, secret, tmp_path):
        def change(state):
            state["cfg"]["task"] |= {
                "_name": "ecg_text_pretraining",
                "data": "???",
                "tokenizer": secret,
            }

        path, given = saved(change), {"data": "manifests"}
        with pytest.raises(DataError, match=r"names it: give task\.tokenizer, the same if"):
            restore(path, sorted_overrides({"task": given}), labelled=True)
        words = write_vocabulary(tmp_path / "vocab.txt")
        other = sorted_overrides({"task": given | {"tokenizer": str(words)}})
        expected = restore(path, other, labelled=True)[2].tokenizer.vocabulary

        def note(state):
            change(state)
            state["task_state"]["fairseq_ecg"] |= {"vocabulary": expected, "lower_case": True}

        _, cfg, task = restore(saved(note), sorted_overrides({"task": given}), labelled=True)
        assert task.tokenizer.vocabulary == expected
        assert secret not in OmegaConf.to_yaml(cfg)

        def damage(state):
            note(state)
            state["task_state"]["fairseq_ecg"]["vocabulary"] = ["[PAD]", 7]

        with pytest.raises(DataError, match="vocabulary is no list of texts: give task"):
            restore(saved(damage), sorted_overrides({"task": given}), labelled=True)

    def test_labels_are_those_of_the_checkpoint_where_they_are_read(self, saved):
        def change(state):
            state["cfg"]["task"]["label_file"] = "y.npy"

        path = saved(change)
        for labelled, expected in ((True, "y.npy"), (False, None), (None, None)):
            given = sorted_overrides({"task": {"data": "manifests"}})
            _, cfg, _ = restore(path, given, labelled=labelled)
            assert cfg.task.get("label_file") == expected

    @pytest.mark.parametrize(
        "text", ["${oc.env:SECRET}", "x${oc.env:SECRET}", "${oc.decode:'${oc.env:SECRET}'}", "${"]
    )
    def test_interpolations(self, text, saved, secret):
        def change(state):
            state["cfg"]["model"]["data"] = text
            state["cfg"]["task"] |= {"data": text, "leads_bucket": text}
            state["cfg"]["task"]["perturbation_mode"] = [text]
            state["cfg"]["common"] = {"user_dir": text, "nested": [{"again": text}]}

        path = saved(change)
        _, cfg, task = restore(path, sorted_overrides({}))
        assert (cfg.model.data, task.cfg.leads_bucket) == (text, text)
        assert list(task.cfg.perturbation_mode) == [text]
        cfg = load_checkpoint_to_cpu(path)["cfg"]
        assert (cfg.common.user_dir, cfg.common.nested[0].again, cfg.task.data) == (text,) * 3
        assert "s3cr3t" not in "".join(refusal(read, path) or "" for read in READERS.values())

    def test_interpolations_in_place_of_numbers(self, saved, monkeypatch):
        monkeypatch.setenv("SECRET", "1")
        change = put(*MODEL, "encoder_layers", value="${oc.env:SECRET}")
        for read in ("load_model", "build_model", "restore", "load_encoder"):
            with pytest.raises(CheckpointError, match=r"'\${oc.env:SECRET}' is not a whole number"):
                READERS[read](saved(change))


@pytest.mark.parametrize("levels", [1, 15])
def test_few_tuples_are_read(levels):
    check_tuples(io.BytesIO(key_of_tuples(levels)))
    assert list(pickle.loads(key_of_tuples(1))) == [((), ())]


@pytest.fixture
def folder(saved, tmp_path):
    load_model(saved(), device="cpu").save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


NETWORK = ("network",)

FOLDERS = [
    *(whole(value) for value in ([], 3, "text", {})),
    *(put("model_type", value=value) for value in (None, "bert", 3)),
    *(put("network", value=value) for value in (None, [], "x", {}, {"_name": []})),
    *(put("network", "encoder_layers", value=value) for value in ("1", 0, -1, 10**6, None, 2)),
    put("network", "encoder_embed_dim", value=10**9),
    put("network", "conv_feature_layers", value="[(8, 2, 2)] * 1000000000"),
    put("network", "conv_feature_layers", value=[[8, 2, 10**9]] * 4),
    put("network", "dropout", value=2),
    put("network", "num_labels", value=3),
    *(put("preprocessing", value=value) for value in (None, [], "x", {"whitening": True})),
    *(
        put("preprocessing", key, value=value)
        for key, value in (
            ("sample_rate", "500"),
            ("sample_rate", -1),
            ("sample_rate", 1e300),
            ("segment_seconds", 1e9),
            ("leads", "I"),
            ("leads", ["I", "W9"]),
            ("leads", [3.5]),
            ("pad_leads", "no"),
            ("resampler", "magic"),
            ("resampler", []),
            ("epsilon", -1),
            ("mean", [0.0] * 12),
            ("mean", "zero"),
            ("missing_leads", None),
        )
    ),
    put("preprocessing", "mean", value=None),
    *(put("id2label", value=value) for value in (["AF", "ST"], "AF", {"0": 3, "1": 4}, {"0": "a"})),
    put("id2label", value={"zero": "AF", "one": "ST"}),
    *(put("aggregation", value=value) for value in ({"AF": "median"}, {"XX": "max"}, ["max"], 3)),
    *(
        put("targets", value=value)
        for value in ("x", {"mean": [1.0]}, {"mean": [0, 0], "std": [0, 1]}, {"mean": 1, "std": 2})
    ),
]
FOLDERS.remove(next(case for case in FOLDERS if case.__name__ == "preprocessing.mean=None"))


@pytest.mark.parametrize("change", FOLDERS, ids=lambda change: change.__name__)
def test_configurations_of_folders(change, folder):
    config = json.loads((folder / "config.json").read_text())
    changed = change(config)
    (folder / "config.json").write_text(json.dumps(config if changed is None else changed))
    with pytest.raises(REFUSED) as caught:
        load_model(folder, device="cpu")
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model_type": ' + b"9" * 5000 + b"}", b"null"],
    ids=["empty", "begun", "no text", "nested", "long number", "null"],
)
def test_texts_in_place_of_configurations(content, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(folder, device="cpu")


def test_configurations_without_end_are_not_read(folder):
    with open(folder / "config.json", "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(
        CheckpointError, match=r"config\.json cannot be read \(of 10,737,418,240 byt"
    ):
        load_model(folder, device="cpu")


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, rest):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def longer(header):
    next(entry for name, entry in header.items() if "proj.weight" in name)["shape"] = [2, 17]


def elsewhere(header):
    next(entry for name, entry in header.items() if "proj.weight" in name)["data_offsets"] = [0, 8]


def of_another_type(header):
    next(entry for name, entry in header.items() if "proj.weight" in name)["dtype"] = "I32"


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:4],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: b"\0" * 8 + content[8:],
        *(
            lambda content, change=change: with_header(
                (parts := header_of(content), change(parts[0]))[0][0], parts[1]
            )
            for change in (longer, elsewhere, of_another_type, lambda header: header.clear())
        ),
    ],
    ids=["short", "long", "begin", "no end", "no header", "shape", "offsets", "type", "cleared"],
)
def test_safetensors_whose_header_is_wrong(change, folder):
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(folder, device="cpu")


def test_values_of_safetensors_are_numbers(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    for value in (torch.full((2, 16), float("nan")), torch.ones(2, 16, dtype=torch.int32)):
        save_file(weights | {"network.proj.weight": value}, path)
        with pytest.raises(CheckpointError, match=r"values of proj\.weight are (NaN|int32)"):
            load_model(folder, device="cpu")


def test_code_is_refused_as_such(saved):
    path = saved(put("cfg", value=Code()))
    with pytest.raises(UnsafeCheckpointError, match="could run code"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("network", "encoder_layers", value=10**6), "1,000,000 layers, more than"),
        (put("network", "encoder_layers", value="1"), "encoder_layers='1' is not a whole number"),
        (put("network", "conv_feature_layers", value="[(8, 2, 2)] * 10000000"), "is not a list"),
        (put("network", "_name", value=[]), "is not known here"),
    ],
)
def test_configurations_of_hugging_face(change, message, folder):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(REFUSED, match=message) as caught:
        AutoModel.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_weights_of_hugging_face(folder):
    AutoModelForSequenceClassification.from_pretrained(folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["network.proj.weight"][0, 0] = torch.nan
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"folder: the values of network\.proj\.weight are NaN"
    ):
        AutoModelForSequenceClassification.from_pretrained(folder)
