"""The head of patient identification: embeddings of unit length, compared by their angles."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.options import Width


class ArcFace(FinetunedEncoder):
    """An embedding of each segment, and its cosine to the centre of each class.

    ``out`` is ``(B, D)``, the mean over frames divided by its length. Padded frames count, as in
    fairseq_signals, whose checkpoints were trained with them. ArcFace (Deng et al., CVPR 2019,
    https://arxiv.org/abs/1801.07698) trains it with a margin between classes, which are patients;
    patients who are in no class are identified by their embeddings.

    Args:
        encoder: any.
        num_labels: patients in the training set.
        options: of :class:`FinetunedEncoder`.
    """

    label_output: ClassVar[str | None] = None
    embedding_output: ClassVar[str | None] = "out"
    without_labels: ClassVar[str] = (
        "identifies patients and predicts no labels: use identify, or embed"
    )

    def __init__(self, encoder: Encoder, *, num_labels: Width, **options):
        FinetunedEncoder.__init__(self, encoder, **options)
        self.kernel = nn.Parameter(torch.empty(num_labels, encoder.encoder_dim))
        self.init_head(self)

    def apply_head(self, x: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        """Map frames ``(B, T', D)`` to embeddings ``(B, D)`` of length 1, or 0 where they are 0."""
        pooled = self.encoder.mean(x, None)
        length = pooled.norm(dim=1, keepdim=True)
        return pooled / length.masked_fill(length == 0, 1)

    def forward(
        self, source: torch.Tensor, padding_mask: torch.Tensor | None = None, **wanted
    ) -> dict[str, torch.Tensor | None]:
        """Embed a batch.

        Returns:
            See :meth:`FinetunedEncoder.forward`, and ``cosine``, :meth:`cosine` of ``out``: what
            waits for gradients of all ranks must see in the output that the centres have one.
        """
        net_output = super().forward(source, padding_mask, **wanted)
        out = net_output["out"]
        assert out is not None  # a head gives one
        return net_output | {"cosine": self.cosine(out)}

    def cosine(self, out: torch.Tensor) -> torch.Tensor:
        """Compare embeddings with the centres of the classes.

        Args:
            out: ``(B, D)``, of length 1.

        Returns:
            ``(B, num_labels)`` cosines from -1 to 1, float32, or float64 of such embeddings.
        """
        dtype = torch.promote_types(out.dtype, torch.float32)
        with torch.autocast(out.device.type, enabled=False):
            centres = functional.normalize(self.kernel.to(dtype), eps=0.0)
            return functional.linear(out.to(dtype), centres).clamp(-1, 1)

    def get_targets(self, sample: Mapping, net_output: Mapping, **_) -> torch.Tensor:
        """Class of each patient of a batch, ``(B,)`` int64."""
        return sample["label"].flatten()

    def init_head(self, module: nn.Module) -> None:
        """Draw the centres anew if the module is the head: each channel has length 1 over them."""
        if module is self:
            with torch.no_grad():
                # Of fairseq_signals: columns come to length 1, rows, which are the centres, do not.
                self.kernel.uniform_(-1, 1).renorm_(2, 1, 1e-5).mul_(1e5)
