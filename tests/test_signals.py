"""The published steps of ECG-FM's notebooks and scripts, with one line added."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf

from fairseq_ecg.cli import main
from fairseq_ecg.compat.published.missing import DIFFERENCES
from fairseq_ecg.formats.stores import MemmapReader
from fairseq_ecg.signals import MISSING, OFFERED, SCRIPTS
from tests.conftest import TINY_CMSC_MODEL, environment

PUBLISHED = json.loads(Path(__file__).with_name("signals_names.json").read_text())
"""Every public name of fairseq_signals, by module."""

QUICK_START = """
import fairseq_ecg.signals
import logging
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import scipy.io
import torch
from torch.utils.data import DataLoader, TensorDataset

from fairseq_signals.models import build_model_from_checkpoint
from fairseq_signals.models.classification.ecg_transformer_classifier import (
    ECGTransformerClassificationModel
)
assert (logging.root.level, logging.root.handlers) == (logging.WARNING, [])
from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.ecg.segmentation import segment
from fairseq_ecg.ecg.standardisation import standardisation

root, out = map(Path, sys.argv[1:])
files, segments = [], []
for path in sorted((root / "ecg" / "code_15" / "org").glob("*.mat")):
    mat = scipy.io.loadmat(path)
    ecg = resample(mat["feats"], int(mat["org_sample_rate"][0, 0]), 500)
    ecg = segment(standardisation(ecg)(ecg), 2500)
    files += [path.name] * len(ecg)
    segments.append(torch.from_numpy(ecg).float())
loader = DataLoader(TensorDataset(torch.cat(segments)), batch_size=4)

model: ECGTransformerClassificationModel = build_model_from_checkpoint(
    checkpoint_path=str(root / "golden" / "diagnosis_small.pt")
)
assert isinstance(model, ECGTransformerClassificationModel)
model.encoder.encoder.need_weights = True
for layer in model.encoder.encoder.layers:
    layer.need_weights = True
model.eval()
model.to("cpu")
logits, embs, saliency = [], [], []
for (source,) in loader:
    result = model(source=source)
    logits.append(result["out"])
    tokens = result["encoder_out"]
    embs.append(torch.div(tokens.sum(dim=1), (tokens != 0).sum(dim=1)))
    saliency.append(result["saliency"])
names = pd.read_csv(root / "ecg" / "code_15" / "labels" / "label_def.csv", index_col="name").index
pred = pd.DataFrame(torch.sigmoid(torch.cat(logits)).detach().numpy(), index=files, columns=names)
attention = torch.cat(saliency).detach()[:, -1].max(axis=2).values
pred.groupby(pred.index).agg({name: "mean" for name in names}).to_csv(out / "pred.csv")
np.savez(out / "results.npz", pred=pred, embs=torch.cat(embs).detach(), attention=attention)
"""

SCRIPT = """
import os
import sys
import numpy as np
import torch
from fairseq_signals.utils.store import MemmapBatchWriter, MemmapReader, memmap_batch_process

parser = argparse.ArgumentParser()  # not imported: so does ECG-FM's embs.py
parser.add_argument("directory")
parser.add_argument("out")
directory, out = vars(parser.parse_args()).values()

def encoder_out_to_emb(x, device="cpu"):
    x = torch.from_numpy(np.array(x)).to(device)
    return torch.div(x.sum(dim=1), (x != 0).sum(dim=1)).cpu().numpy()

encoder_out = MemmapReader.from_header(os.path.join(directory, "encoder_out_test.npy"))
emb = memmap_batch_process(encoder_out, encoder_out_to_emb, 5, progress=True, device="cpu")
np.save(os.path.join(out, "emb_test.npy"), emb)
attention = MemmapReader.from_header(os.path.join(directory, "saliency_test.npy"))[:, -1]
attention = torch.from_numpy(np.array(attention)).max(axis=2).values.squeeze().numpy()
np.save(os.path.join(out, "attn_max_test.npy"), attention)
writer = MemmapBatchWriter(os.path.join(out, "copy_test.npy"), emb.shape, dtype=emb.dtype)
writer(emb)
writer.close()
torch.save({"best_auprc": emb.mean(dtype=np.float64)}, os.path.join(out, "linear.pt"))
assert torch.load(os.path.join(out, "linear.pt"))["best_auprc"] == emb.mean(dtype=np.float64)
"""


def run(*arguments, cwd: Path, variables: dict[str, str] | None = None):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment() | (variables or {}),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_steps_of_the_quick_start(shared, tmp_path):
    (tmp_path / "quick_start.py").write_text(QUICK_START)
    result = run("quick_start.py", shared, tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "results.npz")
    recorded = shared / "golden" / "extract_small"
    logits = MemmapReader.from_header(recorded / "outputs_test.npy")[:]
    np.testing.assert_allclose(found["pred"], 1 / (1 + np.exp(-logits)), atol=1e-5)
    tokens = MemmapReader.from_header(recorded / "encoder_out_test.npy")[:]
    np.testing.assert_allclose(found["embs"], tokens.mean(axis=1), atol=1e-4)
    saliency = MemmapReader.from_header(recorded / "saliency_test.npy")[:]
    np.testing.assert_allclose(found["attention"], saliency[:, -1].max(axis=2), atol=1e-6)
    assert len((tmp_path / "pred.csv").read_text().splitlines()) == 11


def test_a_script_as_it_is(shared, tmp_path):
    (tmp_path / "scripts.py").write_text(SCRIPT)
    recorded = shared / "golden" / "extract_small"
    result = run("-m", "fairseq_ecg.signals", "scripts.py", recorded, tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    tokens = MemmapReader.from_header(recorded / "encoder_out_test.npy")[:]
    emb = np.load(tmp_path / "emb_test.npy")
    np.testing.assert_allclose(emb, tokens.mean(axis=1), atol=1e-5)
    assert np.load(tmp_path / "attn_max_test.npy").shape == (14, 156)
    copied = MemmapReader.from_header(tmp_path / "copy_test.npy")
    assert copied.dtype == np.float32
    np.testing.assert_array_equal(copied[:], emb)


@pytest.fixture
def offered():
    """Imports a module under fairseq_signals' name, and forgets it afterwards."""
    yield lambda module: importlib.import_module(f"fairseq_signals.{module}".rstrip("."))
    for name in [name for name in sys.modules if name.partition(".")[0] == "fairseq_signals"]:
        del sys.modules[name]


def test_every_name_that_is_offered_is_there(offered):
    for module, names in OFFERED.items():
        found = offered(module)
        assert found.__all__ == sorted(names)
        assert all(hasattr(found, name) for name in names), module


def test_every_public_name_is_in_the_tables():
    scripts = {module for module in PUBLISHED if module in SCRIPTS}
    assert PUBLISHED.keys() - OFFERED.keys() - scripts == set()
    for module in PUBLISHED.keys() - scripts:
        submodules = {name.rpartition(".")[2] for name in OFFERED}
        names = set(PUBLISHED[module]) - submodules
        assert not OFFERED[module].keys() & MISSING.get(module, {}).keys()
        assert names - OFFERED[module].keys() - MISSING.get(module, {}).keys() == set(), module
    # Nothing else is in them but names under which modules are found besides.
    others = {"distributed_utils", "meters", "metrics", "models.conv_transformer", "pdb"}
    assert OFFERED.keys() - PUBLISHED.keys() == others
    for module in MISSING:
        assert MISSING[module].keys() <= set(PUBLISHED[module])
    for name in DIFFERENCES:
        module, _, attribute = name.rpartition(".")
        assert attribute in OFFERED[module], name


def test_what_stands_for_nothing_says_what_there_is(offered):
    for module, names in MISSING.items():
        for name, remedy in names.items():
            with pytest.raises(ImportError) as error:
                exec(f"from {offered(module).__name__} import {name}")
            assert str(error.value).endswith(f"{name} is not offered: {remedy}")


def test_all_names_of_a_module_at_once(offered):
    names = {}
    offered("modules")
    exec("from fairseq_signals.modules import *", names)
    assert set(PUBLISHED["modules"]) <= names.keys()
    assert "GradMultiply" in dir(offered("modules"))


PUBLIC_IMPORTS = """
import fairseq_signals.distributed.utils as dist_utils
from fairseq_signals import distributed_utils, logging, meters, metrics, tasks
from fairseq_signals.criterions import BaseCriterion, register_criterion
from fairseq_signals.criterions.binary_cross_entropy import BinaryCrossEntropyCriterionConfig
from fairseq_signals.data import FileECGDataset, IdentificationECGDataset, data_utils, iterators
from fairseq_signals.data.data_utils import compute_mask_indices
from fairseq_signals.data.ecg import augmentations, ecg_utils
from fairseq_signals.data.ecg.augmentations import PERTURBATION_CHOICES
from fairseq_signals.data.ecg.raw_ecg_dataset import RawECGDataset
from fairseq_signals.dataclass import ChoiceEnum, Dataclass
from fairseq_signals.dataclass.configs import Config
from fairseq_signals.dataclass.initialize import add_defaults, hydra_init
from fairseq_signals.logging import progress_bar
from fairseq_signals.logging.meters import safe_round
from fairseq_signals.models import BaseModel, register_model
from fairseq_signals.models.finetuning_model import FinetuningConfig, FinetuningModel
from fairseq_signals.models.pretraining_model import PretrainingConfig, PretrainingModel
from fairseq_signals.models.transformer import TransformerConfig, TransformerModel
from fairseq_signals.modules import GatherLayer, GradMultiply, LayerNorm, TransposeLast
from fairseq_signals.modules.multi_head_attention import MultiHeadAttention
from fairseq_signals.tasks import Task, register_task
from fairseq_signals.trainer import Trainer
from fairseq_signals.utils import checkpoint_utils, options, utils
from fairseq_signals.utils.file import filenames_from_paths
from fairseq_signals.utils.pandas import check_cols
from fairseq_signals.utils.splits import DatasetSplitter
from fairseq_signals.utils.utils import buffered_arange
assert distributed_utils.get_global_rank is dist_utils.get_global_rank
assert metrics.log_scalar is logging.metrics.log_scalar
assert issubclass(tasks.ecg_pretraining.ECGPretrainingTask, Task)
assert data_utils.compute_mask_indices is compute_mask_indices
"""
"""Lines as public code has them."""


def test_imports_of_public_code(tmp_path):
    (tmp_path / "script.py").write_text(PUBLIC_IMPORTS)
    result = run("-m", "fairseq_ecg.signals", "script.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


REGISTERED = {
    "models.classification.resnet_classifier.Nejedly2021ResnetClassificationModel": (
        "nejedly2021resnet_classifier"
    ),
    "models.classification.SEWideResidualNetworkClassificationModel": "se_wrn_classifier",
    "models.convnet.ConvNetModel": "convnet",
    "models.identification.ArcFaceModel": "arcface",
    "models.resnet.Nejedly2021ResnetModel": "nejedly2021resnet",
    "models.resnet.VanillaResnetModel": "vanilla_resnet",
    "models.se_wrn.SEWideResidualNetworkModel": "se_wrn",
    "models.segmentation.unet_segmentor.ECGUNetSegmentationModel": "unet_segmentor",
    "models.segmentation.ECGUNetSegmentationWithCGMModel": "unet_cgm_segmentor",
    "tasks.ecg_identification.ECGIdentificationTask": "ecg_identification",
    "tasks.ecg_segmentation.ECGSegmentationTask": "ecg_segmentation",
    "criterions.3kg_criterion.ThreeKGCriterion": "3kg",
    "criterions.arcface_criterion.ArcFaceCriterion": "arcface",
    "criterions.composite_criterion.CompositeCriterion": "composite_criterion",
    "criterions.cross_entropy.CrossEntropyCriterion": "cross_entropy",
    "criterions.simclr_criterion.SimCLRCriterion": "simclr",
}
"""What fairseq_signals registers under a name, by where its code has it."""


@pytest.mark.parametrize(("path", "name"), REGISTERED.items())
def test_classes_are_those_that_are_registered(offered, path, name):
    module, _, attribute = path.rpartition(".")
    found = getattr(offered(module), attribute)
    registries = {
        "models": (MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY),
        "tasks": (TASK_REGISTRY, {}),
        "criterions": (CRITERION_REGISTRY, {}),
    }
    classes, configs = registries[module.partition(".")[0]]
    assert found is classes[name]
    if configs:
        config = attribute.removesuffix("Model") + "Config"
        assert getattr(offered(module), config) is configs[name]


def test_segmentor_of_a_checkpoint(offered, shared):
    model = offered("models").build_model_from_checkpoint(
        shared / "golden" / "rest" / "unet3plus_1lead.pt"
    )
    assert isinstance(model, offered("models.segmentation").ECGUNetSegmentationModel)
    scores = model.get_logits(model.eval()(source=torch.randn(1, 1, 640)))
    assert scores.shape[-1] == 4


def test_what_is_not_offered_is_reported(offered):
    with pytest.raises(ModuleNotFoundError) as error:
        offered("no_such_module")
    assert error.value.name == "fairseq_signals.no_such_module"
    assert "fairseq_ecg.signals offers fairseq_signals.config, " in str(error.value)
    with pytest.raises(ImportError, match="cannot import name 'no_such_name'"):
        exec("from fairseq_signals.modules import no_such_name")


def test_model_and_task_with_overrides(offered, shared):
    model, cfg, task = offered("utils.checkpoint_utils").load_model_and_task(
        str(shared / "golden" / "diagnosis_small.pt"),
        checkpoint_overrides={"task": {"label_file": "mine.npy"}, "final_dropout": 0.5},
        model_overrides={"saliency": True},
    )
    assert cfg.task.label_file == task.cfg.label_file == "mine.npy"
    assert model.final_dropout.p == 0.5
    assert model.encoder.encoder.need_weights


@pytest.fixture
def load_model_and_task(offered):
    return offered("utils.checkpoint_utils").load_model_and_task


def test_arguments_in_the_order_of_fairseq_signals(load_model_and_task, shared):
    path = str(shared / "golden" / "diagnosis_small.pt")
    model, _, task = load_model_and_task(path, {"final_dropout": 0.5}, {"saliency": True})
    again, _, same = load_model_and_task(path, None, None, task, True, "", 1, None)
    assert same is task
    assert again.final_dropout.p == 0
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_older_name_of_overrides(load_model_and_task, shared):
    path = shared / "golden" / "diagnosis_small.pt"
    overrides = {"label_file": "mine.npy", "final_dropout": 0.5}
    model, cfg, task = load_model_and_task(path, arg_overrides=overrides)
    assert cfg.task.label_file == task.cfg.label_file == "mine.npy"
    assert model.final_dropout.p == 0.5


def test_weights_that_are_missing_or_left_over(offered, load_model_and_task, shared):
    path = shared / "golden" / "diagnosis_small.pt"
    state = offered("utils.checkpoint_utils").load_checkpoint_to_cpu(path)
    weight = state["model"].pop("proj.bias") + 1
    state["model"]["of_another"] = weight
    with pytest.raises(RuntimeError, match=r"missing proj.bias, left over of_another"):
        load_model_and_task(path, state=state)
    model, _, _ = load_model_and_task(path, strict=False, state=state)
    assert not model.proj.bias.any()
    assert torch.equal(model.proj.weight, state["model"]["proj.weight"])
    assert model.num_updates == state["optimizer_history"][-1]["num_updates"]


@pytest.mark.parametrize("strict", [True, False])
def test_weights_that_are_no_numbers(offered, load_model_and_task, shared, strict):
    path = shared / "golden" / "diagnosis_small.pt"
    state = offered("utils.checkpoint_utils").load_checkpoint_to_cpu(path)
    state["model"]["proj.weight"][0, 0] = torch.nan
    with pytest.raises(RuntimeError, match=r"proj.weight are NaN or infinite, 1 of"):
        load_model_and_task(path, strict=strict, state=state)


def test_weights_of_another_shape_name_the_file(load_model_and_task, shared):
    path = shared / "golden" / "diagnosis_small.pt"
    with pytest.raises(RuntimeError, match=r"(?s)small.pt does not fit the model: .*proj"):
        load_model_and_task(path, model_overrides={"num_labels": 3}, strict=False)


def test_what_is_trained_by_ones_own_loop(load_model_and_task, shared):
    """Public code chooses itself what trains, after the model is there."""
    model, _, _ = load_model_and_task(shared / "golden" / "diagnosis_small.pt")
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.encoder.feature_grad_mult = 1.0
    model(source=torch.randn(2, 12, 640))["out"].sum().backward()
    assert all(p.grad is not None for p in model.encoder.feature_extractor.parameters())


def test_batches_with_more_than_signals(offered, shared):
    model = offered("models").build_model_from_checkpoint(shared / "golden" / "diagnosis_small.pt")
    batch = {"source": torch.randn(2, 12, 640), "padding_mask": None}
    expected = model(**batch)["out"]
    assert torch.equal(model(**batch, id=torch.arange(2), age=[30, 40])["out"], expected)


@pytest.mark.parametrize(
    "head", [torch.nn.Identity, lambda: torch.nn.Sequential(torch.nn.Linear(64, 3))]
)
def test_another_module_in_place_of_the_head(offered, shared, head):
    model = offered("models").build_model_from_checkpoint(shared / "golden" / "diagnosis_small.pt")
    trained = model.state_dict()
    model.proj = head()
    model.load_state_dict(model.state_dict())
    missing, left_over = model.load_state_dict(trained | {"steps": torch.tensor(3)}, strict=False)
    assert set(left_over) == {"proj.weight", "proj.bias", "steps"}
    assert all(name.startswith("proj.") for name in missing)


def test_names_with_a_suffix_and_files_in_shards(load_model_and_task, shared, tmp_path):
    (tmp_path / "checkpoint_last-me.pt").symlink_to(shared / "golden" / "pretrain_small.pt")
    model, _, _ = load_model_and_task(tmp_path / "checkpoint_last.pt", suffix="-me")
    assert model.mask_prob == 0.65
    with pytest.raises(ValueError, match="num_shards=2"):
        load_model_and_task(tmp_path / "checkpoint_last.pt", strict=False, num_shards=2)


def test_what_models_say_of_themselves(offered, shared):
    build = offered("models").build_model_from_checkpoint
    model = build(shared / "golden" / "pretrain_small.pt")
    stored = torch.load(shared / "golden" / "pretrain_small.pt", weights_only=True)["cfg"]["model"]
    assert model.encoder.embed_dim == model.cfg.encoder_embed_dim == stored["encoder_embed_dim"]
    assert model.encoder.layers[0].embed_dim == model.encoder.embed_dim
    assert model.embed == model.conv_dim
    masks = [key for key in stored if "mask_" in key and key != "apply_mask"]
    assert len(masks) == 12
    assert all(getattr(model, key) == stored[key] for key in masks)
    classifier = build(shared / "golden" / "diagnosis_small.pt")
    assert classifier.cfg.num_labels == classifier.proj.out_features
    assert classifier.encoder.cfg.in_d == 12
    assert all(hasattr(classifier.encoder, key) for key in masks)


def test_masks_that_are_turned_off_after_building(offered):
    """Public code sets ``model.mask_prob`` on a network that is there already."""
    model = offered("models.wav2vec2").Wav2Vec2CMSCModel(TINY_CMSC_MODEL | {"final_dim": 8}).eval()
    source = torch.randn(2, 12, 640)
    masked = model(source=source)["contrast"].predictions
    assert masked.shape[1] < 40
    model.mask_prob = 0.0
    assert model.masking.frames is None
    assert model(source=source)["contrast"].predictions.shape[1] == 40


def test_an_encoder_that_is_asked_not_to_mask(offered, shared):
    module = offered("models.ecg_transformer")
    cfg = module.ECGTransformerConfig(encoder_layers=1, encoder_embed_dim=32)
    cfg.encoder_attention_heads, cfg.conv_feature_layers = 2, "[(16, 2, 2)] * 4"
    model = module.ECGTransformerModel(cfg).eval()
    source = torch.randn(2, 12, 640)
    expected = model(source)["x"]
    assert torch.equal(model(source, mask=False, features_only=True)["x"], expected)
    assert torch.equal(model(source=source, padding_mask=None, mask=False)["x"], expected)
    assert torch.equal(model.extract_features(source, None, mask=False)["x"], expected)


@pytest.fixture
def finetuning(offered, shared):
    """Public-style classes of one's own on an encoder, with configurations for them."""
    module = offered("models.ecg_transformer")
    classification = offered("models.classification")

    class Estimator(module.ECGTransformerFinetuningModel):
        def __init__(self, cfg, encoder):
            super().__init__(cfg, encoder)
            self.head = torch.nn.Linear(cfg.encoder_embed_dim, 3)

        def forward(self, **kwargs):
            found = super().forward(**kwargs)
            frames = self.final_dropout(found["x"])
            return self.head(self.get_logits(found, aggregate=True)), frames

    class Classifier(classification.ECGTransformerClassificationModel):
        def __init__(self, cfg, encoder):
            super().__init__(cfg, encoder)
            self.extra = torch.nn.Linear(cfg.encoder_embed_dim, 1)

    values = {"model_path": str(shared / "golden" / "pretrain_small.pt"), "num_labels": 5}
    cfg = classification.ECGTransformerClassificationConfig(**values)
    open_cfg = OmegaConf.create(
        {"task": {"normalize": False, "filter": False, "data": ""}, "model": cfg}
    )
    return {
        "base": module.ECGTransformerFinetuningModel,
        "estimator": Estimator,
        "classifier": Classifier,
        "configs": {"dataclass": cfg, "alone": OmegaConf.structured(cfg), "tree": open_cfg.model},
        "encoder": module.ECGTransformerModel,
    }


@pytest.mark.parametrize("config", ["dataclass", "alone", "tree"])
@pytest.mark.parametrize("kind", ["base", "estimator", "classifier"])
def test_models_of_ones_own(finetuning, shared, kind, config):
    cfg = finetuning["configs"][config]
    model = finetuning[kind].build_model(cfg, task=None).eval()
    assert type(model) is finetuning[kind]
    stored = torch.load(cfg.model_path, weights_only=True)["model"]
    weight = "encoder.layers.0.fc1.weight"
    assert torch.equal(model.encoder.state_dict()[weight], stored[weight])
    assert model.encoder.mask_emb is None
    # The checkpoint decides the architecture, and heads are built for it.
    assert model.cfg.encoder_embed_dim == model.encoder.embed_dim == stored[weight].shape[1]
    assert cfg.encoder_embed_dim == 768  # of the one that was given nothing changes
    source = torch.from_numpy(np.load(shared / "golden" / "pretrain_small.npz")["source"])
    out = model(source=source, padding_mask=None)
    if kind == "estimator":
        assert out[0].shape == (len(source), 3)
    elif kind == "classifier":
        assert out["out"].shape == (len(source), 5)
        assert model.extra.in_features == model.encoder.embed_dim
    else:
        frames = model.encoder.eval().extract_features(source)["x"]
        assert torch.equal(out["x"], frames)
    assert (
        model.get_logits(out if kind != "estimator" else {"x": out[1], "padding_mask": None})
        is not None
    )
    model.set_num_updates(7)
    assert model.num_updates == 7


def test_an_encoder_out_of_a_checkpoint(finetuning, shared):
    cfg = finetuning["configs"]["dataclass"]
    path, cfg.model_path = cfg.model_path, None
    encoder = finetuning["encoder"].from_pretrained(path, cfg)
    stored = torch.load(path, weights_only=True)["model"]
    assert torch.equal(encoder.post_extract_proj.weight, stored["post_extract_proj.weight"])
    cfg.encoder_embed_dim = encoder.embed_dim
    assert finetuning["classifier"](cfg, encoder).encoder is encoder
    cfg.encoder_embed_dim, cfg.encoder_layers = 768, 1
    fresh = finetuning["base"].build_model(cfg, task=None)
    assert fresh.encoder.embed_dim == 768


def test_version_and_file(offered):
    package = offered("")
    assert package.__version__ == "1.0.0a0"
    assert Path(package.__file__).is_file()
    assert package.utils.checkpoint_utils.load_model_and_task
    assert package.models.wav2vec2.Wav2Vec2Model
    assert not hasattr(package, "no_such_module")


def test_every_script_has_a_command(capsys):
    assert len(SCRIPTS) == 30
    assert {name for name in PUBLISHED if ".preprocess." in name} == {
        name for name in SCRIPTS if not name.endswith(".py")
    }
    commands = {command for commands in SCRIPTS.values() for command in commands.split(" and ")}
    for command in commands:
        program, *arguments = command.split()
        assert program == "fairseq-ecg"
        with pytest.raises(SystemExit) as stopped:
            main([*arguments[:2], "--help"])
        assert stopped.value.code == 0, command
        options = capsys.readouterr().out
        for argument in arguments[2:]:
            assert argument in options, command


@pytest.mark.parametrize(
    ("script", "command"), [item for item in SCRIPTS.items() if not item[0].endswith(".py")]
)
def test_scripts_name_the_command_that_does_the_same(offered, script, command):
    package, _, name = script.rpartition(".")
    offered(package)
    for statement in (
        f"import fairseq_signals.{script}",
        f"from fairseq_signals.{package} import {name}",
    ):
        with pytest.raises(ImportError, match=rf"what {name}\.py does is done by {command}"):
            exec(statement)


SPLITS = """
import argparse
import pandas as pd
from fairseq_signals.utils.splits import DatasetSplitter

parser = argparse.ArgumentParser()
parser.add_argument("--strategy")
parser.add_argument("--fractions")
args = parser.parse_args()
splitter = DatasetSplitter(args.strategy, args.fractions, ["a", "b"], date_col="date")
print(*splitter(pd.DataFrame({"date": [3, 1, 2, 4]}))["split"])
"""


def test_scripts_that_prepare_data_run_as_they_are(tmp_path):
    (tmp_path / "splits.py").write_text(SPLITS)
    arguments = ["splits.py", "--strategy", "temporal", "--fractions", "0.5"]
    result = run("-m", "fairseq_ecg.signals", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "a a b b"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["fairseq_signals.data.ecg.preprocess.manifest", "ROOT"], "fairseq-ecg prepare splits"),
        (["fairseq_signals.data.ecg.preprocess.preprocess_ptbxl"], "--source ptb_xl"),
        (["fairseq_signals.data.ecg.preprocess.preprocess_ludb", "RAW"], "--source ludb"),
        (["fairseq_signals.data.ecg.preprocess.preprocess_ecgiddb"], "--source ecg_id"),
        (["fairseq_signals.data.ecg_text.preprocess.manifest"], "fairseq-ecg prepare text"),
        (["fairseq_signals.no_such_module"], "fairseq_ecg.signals offers fairseq_signals.config, "),
        (["fairseq_signals.models"], "fairseq_signals.models is no program"),
    ],
)
def test_modules_run_by_name(arguments, answer, tmp_path):
    result = run("-m", "fairseq_ecg.signals", "-m", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert answer in result.stderr
    assert "Traceback" not in result.stderr


def test_a_module_of_ones_own_run_by_name(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\nfrom fairseq_signals.models import build_model\nprint(__name__, sys.argv[1:])"
    )
    result = run("-m", "fairseq_ecg.signals", "-m", "mine", "a", "--b", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "__main__ ['a', '--b']"


@pytest.mark.parametrize("folder", [".", "scripts"])
def test_scripts_of_a_clone(folder, tmp_path):
    """In a clone Python finds the package of the working directory, which nobody installed."""
    (tmp_path / "fairseq_signals" / "models").mkdir(parents=True)
    for package in ("fairseq_signals", "fairseq_signals/models"):
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('of the clone')")
    (tmp_path / folder).mkdir(exist_ok=True)
    script = tmp_path / folder / "script.py"
    script.write_text(
        "import helper\nfrom fairseq_signals.models import build_model as built\n"
        "print(built.__module__)"
    )
    (tmp_path / folder / "helper.py").touch()
    result = run("-m", "fairseq_ecg.signals", script.relative_to(tmp_path), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "fairseq_ecg.models.published"


def test_an_installation_is_found_from_a_clone_too(tmp_path):
    installed = tmp_path / "site"
    for root in (installed, tmp_path):
        (root / "fairseq_signals").mkdir(parents=True)
        (root / "fairseq_signals" / "__init__.py").touch()
    (tmp_path / "script.py").touch()
    paths = os.pathsep.join([str(installed), environment()["PYTHONPATH"]])
    result = run(
        "-m", "fairseq_ecg.signals", "script.py", cwd=tmp_path, variables={"PYTHONPATH": paths}
    )
    assert result.returncode == 1
    assert f"fairseq_signals itself is at {installed / 'fairseq_signals'}" in result.stderr


def test_a_folder_of_that_name_is_no_installation(tmp_path):
    (tmp_path / "fairseq_signals").mkdir()
    program = "import fairseq_ecg.signals, fairseq_signals; print(fairseq_signals.__version__)"
    result = run("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, "1.0.0a0"), result.stderr


def test_networks_as_public_code_builds_them(offered, shared):
    golden = shared / "golden"
    source = torch.from_numpy(np.load(golden / "pretrain_small.npz")["source"])
    build = offered("models").build_model_from_checkpoint
    pretrained, classifier = (
        build(golden / "pretrain_small.pt"),
        build(golden / "diagnosis_small.pt"),
    )
    state = offered("utils.checkpoint_utils").load_checkpoint_to_cpu(golden / "pretrain_small.pt")
    with torch.no_grad():
        expected = pretrained.extract_features(source)["x"]

        network = offered("models.wav2vec2.wav2vec2_cmsc").Wav2Vec2CMSCModel(state["cfg"]["model"])
        network.load_state_dict(state["model"])
        found = network.eval()(source=source, padding_mask=None, mask=False, features_only=True)
        assert torch.equal(found["x"], expected)

        encoder = offered("models.ecg_transformer").ECGTransformerModel.build_model(
            state["cfg"]["model"]
        )
        missing, _ = encoder.load_state_dict(state["model"], strict=False)
        assert not missing
        assert torch.equal(encoder.eval()(source=source)["x"], expected)

        base = offered("models.ecg_transformer").ECGTransformerFinetuningModel
        assert isinstance(classifier, base)
        found = base.forward(classifier, source=source)["x"]
        assert torch.equal(found, classifier(source=source)["encoder_out"])


def test_a_network_of_default_values(offered):
    module = offered("models.ecg_transformer")
    cfg = module.ECGTransformerConfig(encoder_layers=1, encoder_embed_dim=32)
    cfg.encoder_attention_heads, cfg.conv_feature_layers = 2, "[(16, 2, 2)] * 4"
    network = module.ECGTransformerModel(cfg)
    assert (network.encoder_dim, len(network.encoder.layers)) == (32, 1)


def test_the_line_itself_loads_nothing(tmp_path):
    program = "import fairseq_ecg.signals, sys; print(*{'torch', 'fairseq'} & set(sys.modules))"
    result = run("-c", program, cwd=tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_fairseq_signals_itself_is_not_hidden(tmp_path):
    (tmp_path / "fairseq_signals").mkdir()
    (tmp_path / "fairseq_signals" / "__init__.py").touch()
    result = run("-c", "import fairseq_ecg.signals", cwd=tmp_path)
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert f"fairseq_signals itself is at {tmp_path / 'fairseq_signals' / '__init__.py'}" in message
    assert "uninstall it" in message


@pytest.mark.parametrize("arguments", [[], ["no_such_script.py"]])
def test_running_no_script(arguments, tmp_path):
    result = run("-m", "fairseq_ecg.signals", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert ("no_such_script.py" if arguments else "usage: ") in result.stderr
