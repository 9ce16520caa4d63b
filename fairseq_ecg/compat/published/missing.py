"""Names of fairseq_signals that nothing stands for here, and what differs of the others."""

_HEADS = "a head of one's own derives from fairseq_signals.models.finetuning_model.FinetuningModel"


def _part_of(network: str, module: str | None, *names: str) -> dict[str, str]:
    """Say that there is no class of its own for a part of a network, and in which module it is."""
    where = "which is built whole" if module is None else f"see fairseq_ecg.modules.{module}"
    return dict.fromkeys(names, f"it is a part of {network}, {where}")


def _heads_on(encoder: str, *names: str) -> dict[str, str]:
    """Say what to derive from in place of a base of heads on one encoder."""
    return dict.fromkeys(names, f"it is no more than the base of heads on {encoder}; {_HEADS}")


_EXTRACT = "common_eval.extract=[output] of fairseq-hydra-validate writes stores"
_M3AE_PARTS = _part_of(
    "M3AEModel",
    None,
    *("ITMHead", "LayerNorm", "MIMHead", "MLMHead", "Pooler", "PositionalEncoding", "QuickGELU"),
    *("ResidualAttentionBlock", "Transformer", "init_weights"),
) | _heads_on("m3ae", "M3AEFinetuningConfig", "M3AEFinetuningModel")
_TEXT_DATA = (
    "the tasks ecg_text_pretraining and ecg_question_answering read these recordings, as views and "
    "targets of fairseq_ecg.data.ECGDataset"
)

MISSING: dict[str, dict[str, str]] = {
    "data": dict.fromkeys(("FileECGQADataset", "FileECGTextDataset"), _TEXT_DATA),
    "data.ecg_text.ecg_qa_dataset": {"FileECGQADataset": _TEXT_DATA},
    "data.ecg_text.ecg_text_dataset": dict.fromkeys(
        ("FileECGTextDataset", "RawECGTextDataset"), _TEXT_DATA
    ),
    "models.ecg_language_transformer": dict.fromkeys(
        ("ECGLanguageTransformerConfig", "ECGLanguageTransformerModel"),
        "it is no more than the base of MedViLLModel and ECGLanguageTransformerClassificationModel",
    )
    | _heads_on(
        "ecg_language_transformer",
        *("ECGLanguageTransformerFinetuningConfig", "ECGLanguageTransformerFinetuningModel"),
    ),
    "models.lstm": _part_of(
        "ResnetLSTMClassificationModel",
        None,
        *("LSTMConfig", "LSTMModel", "LanguageLSTMConfig", "LanguageLSTMModel"),
    ),
    "models.m3ae": _M3AE_PARTS,
    "models.m3ae.bert_model": _part_of("M3AEModel", None, "BertCrossLayer", "BertSelfLayer")
    | dict.fromkeys(
        (
            *("BERT_INPUTS_DOCSTRING", "BERT_PRETRAINED_MODEL_ARCHIVE_LIST"),
            *("BERT_START_DOCSTRING", "load_tf_weights_in_bert"),
        ),
        "transformers no longer has it; BertModel.from_pretrained reads what there is",
    ),
    "models.m3ae.m3ae": _M3AE_PARTS,
    "models.resnet": _part_of(
        "VanillaResnetModel",
        "resnet",
        *("BasicBlock", "Bottleneck", "Resnet", "conv1x1", "conv1x3"),
    )
    | _part_of("Nejedly2021ResnetModel", "nejedly2021resnet", "Nejedly2021ResidualBlock")
    | _heads_on(
        "nejedly2021resnet",
        *("Nejedly2021ResnetFinetuningConfig", "Nejedly2021ResnetFinetuningModel"),
    )
    | _heads_on("vanilla_resnet", "VanillaResnetFinetuningConfig", "VanillaResnetFinetuningModel"),
    "models.resnet_lstm": _part_of(
        "ResnetLSTMClassificationModel", None, "ResnetLSTMConfig", "ResnetLSTMModel"
    )
    | _heads_on("resnet_lstm", "ResnetLSTMFinetuningConfig", "ResnetLSTMFinetuningModel"),
    "models.se_wrn": _part_of(
        "SEWideResidualNetworkModel", "se_wrn", "SEWideResidualBlock", "SEWideResidualGroup"
    )
    | _heads_on(
        "se_wrn",
        *("SEWideResidualNetworkFinetuningConfig", "SEWideResidualNetworkFinetuningModel"),
    ),
    "models.unet": _part_of(
        "ECGUNetModel", "unet", "ConvBnRelu1d", "DownBlock", "UpBlock", "UpBlockForUNet3Plus"
    )
    | dict.fromkeys(
        ("ECGUNet3PlusConfig", "ECGUNet3PlusModel"),
        "it is ECGUNetModel with backbone=unet3plus",
    )
    | _heads_on("unet", "ECGUNetFinetuningConfig", "ECGUNetFinetuningModel"),
    "models.vggnet": dict.fromkeys(
        ("VGG16Config", "VGG16FinetuningConfig", "VGG16FinetuningModel", "VGG16Model"),
        "fairseq_signals registers no such model, so that nothing could be trained with it; "
        "vanilla_resnet, nejedly2021resnet and se_wrn are convolutional encoders that train",
    ),
    "modules.layer_norm": {
        "FusedLayerNorm": "it needs apex; LayerNorm is torch's, whose kernel is fused as well"
    },
    "tasks.ecg_pretraining": {
        "Inferred3KGConfig": "task.inferred_3kg_config is a dict of angle, scale and mask_ratio",
        "InferredW2vConfig": "batches carry their masks without task.inferred_w2v_config",
    },
    "utils.options": {
        "get_inference_parser": "it fails in fairseq_signals; fairseq-hydra-inference has options"
    },
    "utils.store": dict.fromkeys(
        ("initialize_store", "initialize_stores_to_criterion", "store"),
        f"{_EXTRACT}; MemmapBatchWriter writes one of your own",
    ),
}
"""Names that nothing here stands for, by module, and what there is in their place."""

DIFFERENCES: dict[str, str] = {
    "criterions.register_criterion": "a name that is taken is an error, there as here",
    "criterions.criterion.BaseCriterion": "has no stores: `common_eval.extract` writes outputs",
    "criterions.3kg_criterion.ThreeKGCriterion": "criterions state their terms in `compute`",
    "data.data_utils.compute_mask_indices": "`no_overlap` works with today's NumPy",
    "data.data_utils.get_buckets": "runs with today's NumPy",
    "data.ecg.augmentations.BaselineShift": "`freq` has no meaning, there as here",
    "data.ecg.augmentations.RandomLeadsMask": "`conditional` works",
    "data.ecg.raw_ecg_dataset.RawECGDataset": "draws are of seed, epoch and recording; "
    "`collator` applies augmentations; batches have no `original`; one's own reading derives from "
    "`BaseDataset`",
    "dataclass.configs.Config": "fairseq's, with more options",
    "distributed.utils.batch_all_gather": "any type of numbers",
    "logging.meters.AUCMeter": "`values()` has `auroc`, `auprc` and macro averages; it is "
    "left out of checkpoints",
    "logging.progress_bar.progress_bar": "`aim_repo`, ... stand before `tensorboard_logdir`: give "
    "options by name; no `wandb_entity`, which is `WANDB_ENTITY`",
    "logging.progress_bar.CsvProgressBar": "goes around another bar",
    "data.data_utils.batch_by_size": "needs nothing that is built besides",
    "models.build_model_from_checkpoint": "reads no code, and returns the model in evaluation mode",
    "models.pretraining_model.PretrainingModel": "`from_pretrained` opens no file that the "
    "checkpoint names",
    "models.register_model": "a stock model of that name gives it up",
    "models.transformer.TransformerFinetuningModel": "takes the encoders of this package",
    "modules.gumbel_vector_quantizer.GumbelVectorQuantizer": "has no attribute `num_updates`",
    "modules.multi_head_attention.MultiHeadAttention": "`bias=False` is refused, and fails there; "
    "projections are called, so that hooks and adapters on them work",
    "modules.transformer_encoder.TransformerEncoder": "`attn_mask` is refused",
    "modules.transformer_encoder_layer.TransformerEncoderLayer": "`self_attn_mask` is refused",
    "modules.conv_positional_encoding.ConvPositionalEncoding": "hooks on layers inside `pos_conv` "
    "are not called",
    "optim.adam.AdamConfig": "with more options",
    "tasks.task.Task": "fairseq's: `max_sentences` stands for `max_signals`",
    "trainer.Trainer": "fairseq's",
    "utils.checkpoint_utils.load_checkpoint_to_cpu": "reads no code; resolves nothing",
    "utils.pandas.and_conditions": "fails in fairseq_signals, which does not import what it calls",
    "utils.pandas.or_conditions": "fails in fairseq_signals, which does not import what it calls",
    "utils.utils.clip_grad_norm_": "also without a GPU, and without gradients",
}
"""What differs, by module and name, where anything does."""
