"""What stands here for each public name of fairseq_signals, see :mod:`fairseq_ecg.signals`."""

VERSION = "1.0.0a0"
"""Of fairseq_signals, whose names these are."""


def _of(source: str, *names: str) -> dict[str, str]:
    """Say that a module has names as they are."""
    return dict.fromkeys(names, source)


def _in(source: str, **names: str) -> dict[str, str]:
    """Say by which name a module has each."""
    return {name: f"{source}:{here}" for name, here in names.items()}


def _registered(registry: str, **names: str) -> dict[str, str]:
    """Say under which name a class and its configuration are registered.

    Args:
        registry: "models", "tasks" or "criterions".
        names: registered name by class name.
    """
    module, kind = f"fairseq.{registry}", registry[:-1].upper()
    offered = {}
    for name, registered in names.items():
        config = name.removesuffix("Model").removesuffix("Task") + "Config"
        offered[name] = f"{module}:{kind}_REGISTRY[{registered}]"
        offered[config] = f"{module}:{kind}_DATACLASS_REGISTRY[{registered}]"
    return offered


_HERE = "fairseq_ecg.compat.published"
_LAYERS, _DATASETS = f"{_HERE}.layers", f"{_HERE}.datasets"
_MODELS, _TABLES = "fairseq_ecg.models", "fairseq_ecg.models.tables"
_OWN_MODELS = "fairseq_ecg.models.published"
_OWN_CRITERIONS = "fairseq_ecg.criterions.published"
_POPULATE = _of(f"{_HERE}.configs", "populate_dataclass")
_TASKS, _CRITERIONS = "fairseq_ecg.tasks", "fairseq_ecg.criterions"
_BERT = "transformers.models.bert.modeling_bert"


def _network(published: str, here: str) -> dict[str, str]:
    """Say which network of the tables, which is named by rule there, and which configuration."""
    return {f"{published}{kind}": f"{_TABLES}:{here}{kind}" for kind in ("Config", "Model")}


_ECG_CLASSIFIER = _of(
    _MODELS, "ECGTransformerClassificationConfig", "ECGTransformerClassificationModel"
)
_RESNET_CLASSIFIERS = _network(
    "Nejedly2021ResnetClassification", "Nejedly2021ResnetClassifier"
) | _network("SEWideResidualNetworkClassification", "SeWrnClassifier")
_CONVNET = _network("ConvNet", "Convnet")
_ARCFACE = _network("ArcFace", "Arcface")
_SEGMENTORS = _network("ECGUNetSegmentation", "UnetSegmentor") | _network(
    "ECGUNetSegmentationWithCGM", "UnetCgmSegmentor"
)
_WAV2VEC2 = _of(_MODELS, "Wav2Vec2Config", "Wav2Vec2Model")
_WAV2VEC2_CMSC = _of(_MODELS, "Wav2Vec2CMSCConfig", "Wav2Vec2CMSCModel")
_M3AE = _registered("models", M3AEModel="m3ae")
_M3AE_QA = _registered("models", M3AEQAModel="m3ae_qa")
_MEDVILL = _registered("models", MedViLLModel="medvill") | _of(
    f"{_HERE}.constants", "ATTN_MASK_CHOICES"
)
_BLIND = _registered("models", BlindTransformerQAModel="blind_transformer_qa")
_DEAF = _registered("models", DeafTransformerQAModel="deaf_transformer_qa")
_LANGUAGE_CLASSIFIER = _registered(
    "models", ECGLanguageTransformerClassificationModel="ecg_language_transformer_classifier"
)
_RESNET_LSTM_CLASSIFIER = _registered(
    "models", ResnetLSTMClassificationModel="resnet_lstm_classifier"
)
_MASK_TYPES = _of(f"{_HERE}.constants", "MASKING_DISTRIBUTION_CHOICES")
_RAW_DATASETS = _of(_DATASETS, "FileECGDataset", "PathECGDataset")
_VIEW_DATASETS = _of(_DATASETS, "PerturbECGDataset", "ThreeKGECGDataset")
_ITERATORS = _of("fairseq.data.iterators", "CountingIterator", "ShardedIterator")
_ITERATORS |= _of("fairseq.data.iterators", "EpochBatchIterator")
_METERS = _of(
    "fairseq.logging.meters",
    *("AverageMeter", "Meter", "MetersDict", "StopwatchMeter", "SumMeter", "TimeMeter"),
    *("safe_round", "type_as"),
) | _of(_CRITERIONS, "AUCMeter")
_METRICS = _of(
    "fairseq.logging.metrics",
    *("aggregate", "get_active_aggregators", "get_meter", "get_meters", "get_smoothed_value"),
    *("get_smoothed_values", "load_state_dict", "log_custom", "log_derived", "log_scalar"),
    *("log_scalar_sum", "log_speed", "log_start_time", "log_stop_time", "reset", "reset_meter"),
    *("reset_meters", "state_dict"),
)
_DISTRIBUTED = _of(
    "fairseq.distributed.utils",
    *("all_gather", "all_gather_list", "all_reduce", "all_reduce_dict", "all_to_all", "broadcast"),
    *("broadcast_object", "broadcast_tensors", "call_main", "distributed_init"),
    *("distributed_main", "get_data_parallel_group", "get_data_parallel_rank"),
    *("get_data_parallel_world_size", "get_global_group", "get_global_rank"),
    *("get_global_world_size", "get_rank", "get_world_size", "infer_init_method", "is_master"),
    "new_groups",
) | _of(_LAYERS, "batch_all_gather")
_CONV = _of(_LAYERS, "ConvFeatureExtraction", "TransposedConvFeatureExtraction")
_POSITION = _of(_LAYERS, "ConvPositionalEncoding")
_GROUP_NORM = _of("fairseq.modules", "Fp32GroupNorm")
_GATHER = _of(_LAYERS, "GatherLayer")
_GRADIENT = _of("fairseq.modules", "GradMultiply")
_QUANTIZER = _of("fairseq.modules", "GumbelVectorQuantizer")
_LAYER_NORM = _of("fairseq.modules", "Fp32LayerNorm", "LayerNorm")
_ATTENTION = _of(_LAYERS, "MultiHeadAttention")
_SAME_PAD = _of("fairseq.modules", "SamePad")
_ENCODER = _of(_LAYERS, "TransformerEncoder")
_ENCODER_LAYER = _of(_LAYERS, "TransformerEncoderLayer")
_TRANSPOSE = _of("fairseq.modules", "TransposeLast")
_CHOICE_ENUM = _of("fairseq.dataclass", "ChoiceEnum")
_CONFIG = _in("fairseq.dataclass.configs", Config="FairseqConfig", Dataclass="FairseqDataclass")
_REGISTRATION = _of("fairseq.dataclass.utils", "merge_with_parent") | _POPULATE
_REGISTRY_MODULE = _in("fairseq", registry="registry")
_WRAPPERS = {
    "distributed_timeout_wrapper": _of("fairseq.distributed", "DistributedTimeoutWrapper"),
    "fully_sharded_data_parallel": _of(
        "fairseq.distributed", "FullyShardedDataParallel", "fsdp_enable_wrap", "fsdp_wrap"
    )
    | _of("fairseq.distributed.fully_sharded_data_parallel", "DummyProcessGroup"),
    "legacy_distributed_data_parallel": _of("fairseq.distributed", "LegacyDistributedDataParallel"),
    "module_proxy_wrapper": _of("fairseq.distributed", "ModuleProxyWrapper"),
}
_PDB = _of("fairseq.pdb", "MultiprocessingPdb", "set_trace")
_BASE_MODEL = _in("fairseq.models", BaseModel="BaseFairseqModel")
_DISTRIBUTED_MODEL = _in("fairseq.models", DistributedModel="DistributedFairseqModel")
_STORES = "fairseq_ecg.formats.stores"

OFFERED: dict[str, dict[str, str]] = {
    "": _of("fairseq.dataclass.initialize", "hydra_init"),
    "config": {},
    "criterions": _of(
        "fairseq.criterions",
        *("CRITERION_DATACLASS_REGISTRY", "CRITERION_REGISTRY", "build_criterion"),
        *("build_criterion_", "register_criterion"),
    )
    | _of(_OWN_CRITERIONS, "BaseCriterion")
    | _REGISTRY_MODULE,
    "criterions.3kg_criterion": _registered("criterions", ThreeKGCriterion="3kg"),
    "criterions.arcface_criterion": _registered("criterions", ArcFaceCriterion="arcface"),
    "criterions.binary_cross_entropy": _registered(
        "criterions", BinaryCrossEntropyCriterion="binary_cross_entropy"
    ),
    "criterions.binary_cross_entropy_with_logits": _registered(
        "criterions", BinaryCrossEntropyWithLogitsCriterion="binary_cross_entropy_with_logits"
    ),
    "criterions.cmsc_criterion": _registered("criterions", CMSCCriterion="cmsc"),
    "criterions.composite_criterion": _registered(
        "criterions", CompositeCriterion="composite_criterion"
    ),
    "criterions.criterion": _of(_OWN_CRITERIONS, "BaseCriterion"),
    "criterions.cross_entropy": _registered("criterions", CrossEntropyCriterion="cross_entropy"),
    "criterions.m3ae_criterion": _registered("criterions", M3AECriterion="m3ae"),
    "criterions.medvill_criterion": _registered("criterions", MedViLLCriterion="medvill"),
    "criterions.mse_criterion": _registered("criterions", MSECriterion="mse"),
    "criterions.multi_head_binary_cross_entropy": _registered(
        "criterions", MultiHeadBinaryCrossEntropyCriterion="multi_head_binary_cross_entropy"
    ),
    "criterions.simclr_criterion": _registered("criterions", SimCLRCriterion="simclr"),
    "criterions.wav2vec2_criterion": _registered(
        "criterions", Wav2Vec2Criterion="wav2vec2", Wav2Vec2WithCMSCCriterion="wav2vec2_with_cmsc"
    ),
    "data": _of(_DATASETS, "BaseDataset", "CMSCECGDataset", "IdentificationECGDataset")
    | _of(_DATASETS, "SegmentationECGDataset")
    | _RAW_DATASETS
    | _VIEW_DATASETS
    | _ITERATORS,
    "data.data_utils": _of(
        "fairseq.data.data_utils",
        *("get_bucketed_sizes", "numpy_seed", "raise_if_valid_subsets_unintentionally_ignored"),
    )
    | _of(f"{_HERE}.batching", "batch_by_size", "compute_mask_indices", "get_buckets"),
    "data.dataset": _of("fairseq.data.fairseq_dataset", "EpochListening")
    | _of(_DATASETS, "BaseDataset"),
    "data.ecg": {},
    "data.ecg.augmentations": _of(
        f"{_HERE}.augmentations",
        *("BaselineShift", "BaselineWander", "EMGNoise", "PowerlineNoise", "RandomLeadsMask"),
        *("MASKING_LEADS_STRATEGY_CHOICES", "PERTURBATION_CHOICES"),
        *("adjust_channel_dependency", "instantiate_from_name"),
    ),
    "data.ecg.cmsc_ecg_dataset": _of(_DATASETS, "CMSCECGDataset"),
    "data.ecg.ecg_utils": _of(
        _OWN_CRITERIONS,
        *("compute_scored_confusion_matrix", "get_physionet_weights", "get_sinus_rhythm"),
        "get_sinus_rhythm_index",
    ),
    "data.ecg.identification_ecg_dataset": _of(_DATASETS, "IdentificationECGDataset"),
    "data.ecg.perturb_ecg_dataset": _VIEW_DATASETS,
    "data.ecg.preprocess": {},
    "data.ecg.raw_ecg_dataset": _RAW_DATASETS
    | _of(_DATASETS, "RawECGDataset")
    | _of(f"{_HERE}.constants", "BUCKET_CHOICE"),
    "data.ecg.segmentation_ecg_dataset": _of(_DATASETS, "SegmentationECGDataset"),
    "data.ecg_text": {},
    "data.ecg_text.ecg_qa_dataset": {},
    "data.ecg_text.ecg_text_dataset": {},
    "data.ecg_text.preprocess": {},
    "data.iterators": _ITERATORS
    | _of(
        "fairseq.data.iterators",
        *("BackgroundConsumer", "BufferedIterator", "EpochBatchIterating", "GroupedIterator"),
    ),
    "dataclass": _CONFIG | _CHOICE_ENUM,
    "dataclass.configs": _CONFIG
    | _of(
        "fairseq.dataclass.configs",
        *("CheckpointConfig", "CommonConfig", "CommonEvalConfig", "DatasetConfig"),
        *("DistributedTrainingConfig", "OptimizationConfig"),
    ),
    "dataclass.constants": _of(
        "fairseq.dataclass.constants",
        *("ChoiceEnum", "DDP_COMM_HOOK_CHOICES", "LOG_FORMAT_CHOICES", "StrEnum", "StrEnumMeta"),
    ),
    "dataclass.initialize": _of("fairseq.dataclass.initialize", "add_defaults", "hydra_init"),
    "dataclass.utils": _of(
        "fairseq.dataclass.utils",
        *("convert_namespace_to_omegaconf", "eval_str_list", "gen_parser_from_dataclass"),
        *("interpret_dc_type", "merge_with_parent", "migrate_registry"),
        *("omegaconf_no_object_check", "override_module_args", "overwrite_args_by_name"),
    )
    | _POPULATE,
    "distributed": _WRAPPERS["distributed_timeout_wrapper"]
    | _WRAPPERS["fully_sharded_data_parallel"]
    | _WRAPPERS["module_proxy_wrapper"],
    **{f"distributed.{name}": names for name, names in _WRAPPERS.items()},
    "distributed.utils": _DISTRIBUTED,
    "distributed_utils": _DISTRIBUTED,
    "logging": {},
    "logging.meters": _METERS,
    "logging.metrics": _METRICS,
    "logging.progress_bar": _of(
        "fairseq.logging.progress_bar",
        *("BaseProgressBar", "JsonProgressBar", "NoopProgressBar", "SimpleProgressBar"),
        *("TqdmProgressBar", "WandBProgressBarWrapper", "build_progress_bar", "format_stat"),
        *("progress_bar", "rename_logger"),
    )
    | _in("fairseq_ecg.compat.csv_log", CsvProgressBar="CsvLog"),
    "meters": _METERS,
    "metrics": _METRICS,
    "models": _of(
        "fairseq.models",
        *("ARCH_CONFIG_REGISTRY", "ARCH_MODEL_INV_REGISTRY", "ARCH_MODEL_NAME_REGISTRY"),
        *("ARCH_MODEL_REGISTRY", "MODEL_DATACLASS_REGISTRY", "MODEL_REGISTRY"),
        *("import_models", "models_dir", "register_model_architecture"),
    )
    | _BASE_MODEL
    | _DISTRIBUTED_MODEL
    | _in("fairseq.dataclass", Dataclass="FairseqDataclass")
    | _of("fairseq_ecg.compat.registration", "register_model")
    | _in("fairseq_signals.utils", checkpoint_utils="checkpoint_utils")
    | _of(_OWN_MODELS, "build_model")
    | _of("fairseq_ecg.signals", "build_model_from_checkpoint")
    | _REGISTRATION,
    "models.classification": _ECG_CLASSIFIER | _RESNET_CLASSIFIERS,
    "models.classification.ecg_transformer_classifier": _ECG_CLASSIFIER,
    "models.classification.resnet_classifier": _RESNET_CLASSIFIERS,
    # As fairseq_signals' earlier versions name ecg_transformer.
    "models.conv_transformer": _in(
        _MODELS,
        ConvTransformerConfig="ECGTransformerConfig",
        ConvTransformerFinetuningConfig="ECGTransformerFinetuningConfig",
        ConvTransformerFinetuningModel="ECGTransformerFinetuningModel",
        ConvTransformerModel="ECGTransformerModel",
    )
    | _MASK_TYPES,
    "models.convnet": _CONVNET,
    "models.convnet.convnet": _CONVNET,
    "models.distributed_model": _DISTRIBUTED_MODEL,
    "models.ecg_language_transformer": {},
    "models.ecg_transformer": _of(
        _MODELS,
        *("ECGTransformerConfig", "ECGTransformerFinetuningConfig"),
        *("ECGTransformerFinetuningModel", "ECGTransformerModel"),
    ),
    "models.finetuning_model": _of("fairseq_ecg.models.finetuning", "FinetuningConfig")
    | _of(_OWN_MODELS, "FinetuningModel"),
    "models.identification": _ARCFACE,
    "models.identification.arcface": _ARCFACE,
    "models.lstm": {},
    "models.m3ae": _M3AE | _M3AE_QA,
    "models.m3ae.bert_model": _of(
        _BERT,
        *("BertAttention", "BertEmbeddings", "BertEncoder", "BertForMaskedLM"),
        *("BertForMultipleChoice", "BertForNextSentencePrediction", "BertForPreTraining"),
        *("BertForPreTrainingOutput", "BertForQuestionAnswering", "BertForSequenceClassification"),
        *("BertForTokenClassification", "BertIntermediate", "BertLMHeadModel"),
        *("BertLMPredictionHead", "BertModel", "BertOnlyMLMHead", "BertOnlyNSPHead", "BertOutput"),
        *("BertPooler", "BertPreTrainedModel", "BertPredictionHeadTransform"),
        *("BertPreTrainingHeads", "BertSelfAttention", "BertSelfOutput"),
    ),
    "models.m3ae.m3ae": _M3AE,
    "models.m3ae.m3ae_qa": _M3AE_QA,
    "models.medvill": _MEDVILL,
    "models.medvill.medvill": _MEDVILL,
    "models.model": _BASE_MODEL | _of("fairseq.models.fairseq_model", "check_type"),
    "models.pretraining_model": _of("fairseq_ecg.models.ecg_transformer", "PretrainingConfig")
    | _of(_OWN_MODELS, "PretrainingModel"),
    "models.question_answer": _BLIND | _DEAF | _LANGUAGE_CLASSIFIER | _RESNET_LSTM_CLASSIFIER,
    "models.question_answer.blind_transformer": _BLIND,
    "models.question_answer.deaf_transformer": _DEAF,
    "models.question_answer.ecg_language_transformer_classifier": _LANGUAGE_CLASSIFIER,
    "models.question_answer.resnet_lstm_classifier": _RESNET_LSTM_CLASSIFIER,
    "models.resnet": _network("Nejedly2021Resnet", "Nejedly2021Resnet")
    | _network("VanillaResnet", "VanillaResnet")
    | _of(f"{_HERE}.constants", "RESNET_CFG_CHOICES"),
    "models.resnet_lstm": {},
    "models.se_wrn": _network("SEWideResidualNetwork", "SeWrn"),
    "models.segmentation": _SEGMENTORS,
    "models.segmentation.unet_segmentor": _SEGMENTORS,
    "models.transformer": _of("fairseq_ecg.models.ecg_transformer", "TransformerConfig")
    | _of("fairseq_ecg.models.finetuning", "TransformerFinetuningConfig")
    | _of(_OWN_MODELS, "TransformerModel")
    | _in(_MODELS, TransformerFinetuningModel="ECGTransformerFinetuningModel")
    | _of(f"{_HERE}.constants", "EXTRACTOR_MODE_CHOICES")
    | _MASK_TYPES,
    "models.unet": _network("ECGUNet", "Unet") | _of(f"{_HERE}.constants", "UNET_BACKBONE_CHOICES"),
    "models.vggnet": {},
    "models.wav2vec2": _WAV2VEC2 | _WAV2VEC2_CMSC | _MASK_TYPES,
    "models.wav2vec2.wav2vec2": _WAV2VEC2 | _MASK_TYPES,
    "models.wav2vec2.wav2vec2_cmsc": _WAV2VEC2_CMSC,
    "modules": _CONV
    | _POSITION
    | _GROUP_NORM
    | _GATHER
    | _GRADIENT
    | _QUANTIZER
    | _LAYER_NORM
    | _ATTENTION
    | _SAME_PAD
    | _ENCODER
    | _ENCODER_LAYER
    | _TRANSPOSE,
    "modules.conv_feature_extraction": _CONV,
    "modules.conv_positional_encoding": _POSITION,
    "modules.dropout": _in("fairseq.modules", Dropout="FairseqDropout"),
    "modules.fp32_group_norm": _GROUP_NORM,
    "modules.gather_layer": _GATHER,
    "modules.grad_multiply": _GRADIENT,
    "modules.gumbel_vector_quantizer": _QUANTIZER,
    "modules.layer_norm": _LAYER_NORM,
    "modules.multi_head_attention": _ATTENTION,
    "modules.quant_noise": _of("fairseq.modules.quant_noise", "quant_noise"),
    "modules.same_pad": _SAME_PAD,
    "modules.transformer_encoder": _ENCODER | _of(_LAYERS, "init_bert_params"),
    "modules.transformer_encoder_layer": _ENCODER_LAYER,
    "modules.transpose_last": _TRANSPOSE,
    "optim": _of(
        "fairseq.optim",
        *("FP16Optimizer", "MemoryEfficientFP16Optimizer", "OPTIMIZER_DATACLASS_REGISTRY"),
        *("OPTIMIZER_REGISTRY", "build_optimizer", "register_optimizer"),
    )
    | _in("fairseq.optim", Optimizer="FairseqOptimizer")
    | _REGISTRY_MODULE,
    "optim.adam": _of("fairseq.optim.adam", "Adam")
    | _in("fairseq.optim", AdamConfig="OPTIMIZER_DATACLASS_REGISTRY[adam]"),
    "optim.dynamic_loss_scalar": _of("fairseq.optim.dynamic_loss_scaler", "DynamicLossScaler"),
    "optim.fp16_optimizer": _of("fairseq.optim", "FP16Optimizer", "MemoryEfficientFP16Optimizer"),
    "optim.lr_scheduler": _of(
        "fairseq.optim.lr_scheduler",
        *("FairseqLRScheduler", "LR_SCHEDULER_DATACLASS_REGISTRY", "LR_SCHEDULER_REGISTRY"),
        *("build_lr_scheduler", "build_lr_scheduler_", "register_lr_scheduler"),
    )
    | _REGISTRY_MODULE,
    "optim.lr_scheduler.fairseq_lr_scheduler": _of(
        "fairseq.optim.lr_scheduler", "FairseqLRScheduler"
    ),
    "optim.lr_scheduler.fixed_schedule": _of(
        "fairseq.optim.lr_scheduler.fixed_schedule", "FixedLRSchedule", "FixedLRScheduleConfig"
    ),
    "optim.lr_scheduler.step_lr_scheduler": _of(
        "fairseq.optim.lr_scheduler.step_lr_scheduler", "StepLRSchedule", "StepLRScheduleConfig"
    ),
    "optim.lr_scheduler.tri_stage_lr_scheduler": _of(
        "fairseq.optim.lr_scheduler.tri_stage_lr_scheduler",
        *("TriStageLRSchedule", "TriStageLRScheduleConfig"),
    ),
    "optim.optimizer": _in("fairseq.optim", Optimizer="FairseqOptimizer"),
    "pdb": _PDB,
    "tasks": _of(
        "fairseq.tasks",
        *("TASK_CLASS_NAMES", "TASK_DATACLASS_REGISTRY", "TASK_REGISTRY", "get_task"),
        *("import_tasks", "register_task", "setup_task", "tasks_dir"),
    )
    | _in("fairseq.tasks", Task="FairseqTask")
    | _in("fairseq.dataclass", Dataclass="FairseqDataclass")
    | _REGISTRATION,
    "tasks.ecg_classification": _of(_TASKS, "ECGDiagnosisTask")
    | _in("fairseq.tasks", ECGClassificationConfig="TASK_DATACLASS_REGISTRY[ecg_classification]"),
    "tasks.ecg_identification": _registered("tasks", ECGIdentificationTask="ecg_identification"),
    "tasks.ecg_pretraining": _registered("tasks", ECGPretrainingTask="ecg_pretraining"),
    "tasks.ecg_question_answering": _registered(
        "tasks", ECGQuestionAnsweringTask="ecg_question_answering"
    ),
    "tasks.ecg_segmentation": _registered("tasks", ECGSegmentationTask="ecg_segmentation"),
    "tasks.ecg_text_pretaining": _registered(
        "tasks", ECGTextPretrainingTask="ecg_text_pretraining"
    ),
    "tasks.task": _in("fairseq.tasks", Task="FairseqTask")
    | _of("fairseq.tasks.fairseq_task", "StatefulContainer"),
    "trainer": _of("fairseq.trainer", "Trainer"),
    "utils": {},
    "utils.checkpoint_utils": _of(
        "fairseq.checkpoint_utils",
        *("checkpoint_paths", "get_maybe_sharded_checkpoint_filename", "load_checkpoint"),
        *("save_checkpoint", "torch_persistent_save", "verify_checkpoint_directory"),
    )
    | _of("fairseq_ecg.compat.training", "load_checkpoint_to_cpu")
    | _of("fairseq_ecg.signals", "load_model_and_task"),
    "utils.file": _of(
        f"{_HERE}.paths",
        *("extract_ext", "extract_filename", "filenames_from_paths", "normalize_ext"),
        *("remove_common_prefix", "remove_common_segments", "remove_ext", "replace_ext"),
    ),
    "utils.file_io": _of("fairseq.file_io", "IOPathManager", "PathManager"),
    "utils.nan_detector": _of("fairseq.nan_detector", "NanDetector"),
    "utils.options": _of(
        "fairseq.options",
        *("add_checkpoint_args", "add_dataset_args", "add_distributed_training_args"),
        *("add_model_args", "add_optimization_args", "add_preprocess_args", "get_parser"),
        *("get_preprocessing_parser", "get_training_parser", "get_validation_parser"),
        "parse_args_and_arch",
    ),
    "utils.pandas": _of(
        f"{_HERE}.frames",
        *("and_conditions", "check_cols", "drop_na_cols", "explode_with_order"),
        *("numpy_series_to_dataframe", "or_conditions", "to_list"),
    ),
    "utils.pdb": _PDB,
    "utils.registry": _of("fairseq.registry", "REGISTRIES", "setup_registry"),
    "utils.splits": _of(
        f"{_HERE}.splits",
        *("DatasetSplitter", "STRATEGY_IS_GROUPED", "STRATEGY_IS_TEMPORAL"),
        *("STRATEGY_TO_METHOD", "fractions_to_split", "grouped_splits"),
        *("grouped_temporal_splits", "process_fractions", "split_arrays_to_split_series"),
        *("split_dataframe_col", "split_idx", "temporal_splits"),
    ),
    "utils.store": _of(_STORES, "MemmapBatchWriter", "MemmapReader", "memmap_batch_process")
    | _of(f"{_HERE}.paths", "has_ext", "normalize_ext")
    | _of(f"{_HERE}.constants", "STORE_KEYS"),
    "utils.utils": _of(
        "fairseq.utils",
        *("CudaEnvironment", "apply_to_sample", "buffered_arange", "clip_grad_norm_"),
        *("csv_str_list", "eval_bool", "eval_str_dict", "eval_str_list", "get_rng_state"),
        *("has_parameters", "import_user_module", "item", "log_softmax", "move_to_cpu"),
        *("move_to_cuda", "reset_logging", "set_rng_state", "set_torch_seed", "split_paths"),
        "MANIFOLD_PATH_SEP",
    ),
}
"""Where a name of a module of fairseq_signals is found, by module: a module that has it; where it
has another name here, ``module:name``; where it is registered, ``module:registry[name]``."""
