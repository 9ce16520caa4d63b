#!/usr/bin/env bash
# From simulated ECGs with reports to recordings that are found by sentences, and labels by prompts.
#
#     bash examples/ecg_text_clip/demo.sh [FOLDER]
#
# Needs the package installed with the extra text, and about two minutes of one CPU core. Writes to FOLDER
# (outputs/ecg_text_clip in the checkout), replacing what an earlier run left there.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OUT=$(mkdir -p "${1:-$ROOT/outputs/ecg_text_clip}" && cd "${1:-$ROOT/outputs/ecg_text_clip}" && pwd)

# Networks as small as these lose more to the coordination of threads than they gain.
export OMP_NUM_THREADS=1

rm -rf "$OUT"/{data,clip}
set -x

python "$ROOT/examples/ecg_text_clip/simulate_reports.py" \
    --out "$OUT/data" --recordings "${RECORDINGS:-1200}" --seed 1

fairseq-hydra-train \
    --config-name ecg_text_clip \
    common.user_dir="$ROOT/fairseq_ecg" \
    common.log_format=simple \
    common.log_interval=50 \
    task.data="$OUT/data" \
    task.tokenizer="$OUT/data/bert" \
    +task.sep_token=3 \
    task.max_text_size=64 \
    distributed_training.distributed_world_size=1 \
    dataset.num_workers=0 \
    dataset.batch_size=64 \
    optimization.max_epoch=0 \
    optimization.max_update="${UPDATES:-400}" \
    optimization.lr=[2e-3] \
    lr_scheduler.lr_period_updates="${UPDATES:-400}" \
    checkpoint.save_dir="$OUT/clip" \
    checkpoint.no_epoch_checkpoints=true \
    hydra.run.dir="$OUT/clip" \
    model.bert="$OUT/data/bert" \
    model.freeze_text_layers=0 \
    model.projection_dim=64 \
    "+model.ecg_config.conv_feature_layers='[(32, 8, 2), (64, 4, 2), (64, 4, 2)]'" \
    model.ecg_config.encoder_layers=2 \
    model.ecg_config.encoder_embed_dim=64 \
    model.ecg_config.encoder_ffn_embed_dim=128 \
    model.ecg_config.encoder_attention_heads=4 \
    +model.ecg_config.conv_pos=16 \
    +model.ecg_config.conv_pos_groups=4

fairseq-ecg evaluate "$OUT/clip/checkpoint_best.pt" \
    --manifest "$OUT/data/test.tsv" \
    --out "$OUT/recall.csv"

fairseq-ecg evaluate "$OUT/clip/checkpoint_best.pt" \
    --manifest "$OUT/data/test.tsv" \
    --labels "$OUT/data/y.npy" \
    --label-def "$OUT/data/label_def.csv" \
    --baseline untrained \
    --out "$OUT/zero_shot.csv" \
    --require-auroc "${REQUIRED:-0.8}"

fairseq-ecg match "$OUT/clip/checkpoint_best.pt" "$OUT/data/files/sim00004.mat" \
    --texts "atrial fibrillation" "left bundle branch block" "sinus bradycardia" \
    "sinus tachycardia"
