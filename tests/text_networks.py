"""A small network of ECGs and texts, and checkpoints of it as training writes them."""

import torch
from torch import nn

from fairseq_ecg.modules.text import build_text_network
from fairseq_ecg.modules.text.network import AnsweringNetwork
from fairseq_ecg.options import Width

WORDS = ["is", "this", "ecg", "normal", "?", "does", "it", "show", "af", "sinus", "rhythm", "or"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
ANSWERS = ["yes", "no", "not sure", "sinus rhythm", "atrial fibrillation"]


class TinyTextNetwork(AnsweringNetwork):
    """Logits of answers from the mean of an ECG, of a second one, and of a text.

    Args:
        num_labels: answers.
        width: channels.
        num_ecgs: most ECGs of a question.
        vocab_size: tokens.
        max_text_size: positions.
    """

    def __init__(
        self,
        *,
        num_labels: int = 0,
        width: Width = 4,
        num_ecgs: int = 1,
        vocab_size: Width = 30522,
        max_text_size: Width = 512,
    ):
        super().__init__()
        self.n_leads, self.n_answers, self.num_ecgs = 12, num_labels, num_ecgs
        self.vocab_size, self.max_text_size = vocab_size, max_text_size
        self.words = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_text_size, width)
        self.leads = nn.Linear(12, width)
        self.proj = nn.Linear((num_ecgs + 1) * width, num_labels) if num_labels else None

    @property
    def ecg_reader(self):
        return self

    @property
    def encoder_dim(self):
        return self.leads.out_features

    def frame_count(self, n_samples):
        return n_samples // 100

    def embed_ecg(self, ecg, ecg_padding_mask=None):
        frames = self.leads(ecg.transpose(1, 2)).tanh()
        if ecg_padding_mask is None:
            return frames.mean(dim=1)
        mask = ecg_padding_mask[:, 0] if ecg_padding_mask.dim() == 3 else ecg_padding_mask
        kept = (~mask).unsqueeze(2).to(frames.dtype)
        return (frames * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)

    def forward(
        self,
        ecg,
        text,
        ecg_padding_mask=None,
        text_padding_mask=None,
        ecg_2=None,
        ecg_2_padding_mask=None,
        **_,
    ):
        vectors = [self.embed_ecg(ecg, ecg_padding_mask)]
        if self.num_ecgs == 2:
            absent = torch.zeros_like(vectors[0])
            vectors.append(absent if ecg_2 is None else self.embed_ecg(ecg_2, ecg_2_padding_mask))
        # As of several networks, padding counts: an answer depends on the longest text beside it.
        vectors.append((self.words(text) + self.positions.weight[: text.shape[1]]).mean(dim=1))
        return {"out": self.proj(torch.cat(vectors, dim=1))}


def tiny_text_checkpoint(path, notes=None, task=None, **options):
    """Write a checkpoint of it.

    Args:
        path: to write.
        notes: what training noted, in place of all that it notes.
        task: options of the task beside its name.
        options: of the network.
    """
    model = {
        "_name": "tiny_text",
        "num_labels": len(ANSWERS),
        "vocab_size": len(VOCABULARY),
        "max_text_size": 16,
        **options,
    }
    torch.manual_seed(0)
    network = build_text_network(model)
    noted = {
        "sample_rate": 500.0,
        "segment_seconds": 10.0,
        "labels": ANSWERS,
        "vocabulary": VOCABULARY,
        "lower_case": True,
        "max_text_size": model["max_text_size"],
    }
    state = {
        "args": None,
        "cfg": {
            "model": model,
            "task": {"_name": "ecg_question_answering", "data": "d", "normalize": False}
            | (task or {}),
            "criterion": {"_name": "binary_cross_entropy_with_logits"},
        },
        "model": dict(network.state_dict()),
        "optimizer_history": [
            {
                "criterion_name": "BinaryCrossEntropyWithLogitsCriterion",
                "optimizer_name": "Adam",
                "lr_scheduler_state": {"lr": 0.001},
                "num_updates": 20,
            }
        ],
        "task_state": {"fairseq_ecg": noted if notes is None else notes},
        "extra_state": {"train_iterator": {"version": 2, "epoch": 2, "iterations_in_epoch": 0}},
        "last_optimizer_state": {"state": {}, "param_groups": []},
    }
    torch.save(state, path)
    return path
