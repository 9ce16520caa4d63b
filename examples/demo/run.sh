#!/usr/bin/env bash
# From recordings to a classifier, a delineation of waves, and a picture of what they say, on
# simulated ECGs.
#
#     bash examples/demo/run.sh [FOLDER]
#
# Needs the package installed, two CPU cores and less than five minutes. Writes to FOLDER
# (outputs/demo in the checkout), replacing what an earlier run left there.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OUT=$(mkdir -p "${1:-$ROOT/outputs/demo}" && cd "${1:-$ROOT/outputs/demo}" && pwd)

# Networks as small as these lose more to the coordination of threads than they gain.
export OMP_NUM_THREADS=1

# Print a command in a form that can be pasted into a shell, an option in each line.
show() {
    printf '\n$ %s' "$1"
    shift
    local argument separator
    for argument in "$@"; do
        separator=' '
        [[ $argument == -* || $argument == *=* ]] && separator=' \\\n    '
        if [[ $argument == *\'* ]]; then
            argument="\"$argument\""
        elif [[ ! $argument =~ ^[A-Za-z0-9_./=:,+-]+$ ]]; then
            argument="'$argument'"
        fi
        printf "$separator%s" "$argument"
    done
    printf '\n'
}

run() {
    show "$@"
    "$@"
}

# Run a training; its log goes to the file $1, of which the progress is shown.
train() {
    local log=$1
    shift
    show "$@"
    if ! "$@" 2>&1 | tee "$log" | { grep --line-buffered -o 'epoch [0-9]*: .*' || true; }; then
        tail -n 20 "$log" >&2
        exit 1
    fi
}

rm -rf "$OUT"/{recordings,data,pretrained,diagnosis,waves,delineation}

run python "$ROOT/examples/demo/simulate.py" --out "$OUT/recordings" --recordings 480 --seed 1

run fairseq-ecg prepare all "$ROOT/examples/demo/prepare.yaml" \
    raw_root="$OUT/recordings" \
    processed_root="$OUT/data"

train "$OUT/pretrain.log" fairseq-hydra-train \
    --config-name w2v_cmsc_rlm \
    common.user_dir="$ROOT/fairseq_ecg" \
    common.log_format=simple \
    common.log_interval=25 \
    task.data="$OUT/data/manifests/cmsc" \
    distributed_training.distributed_world_size=1 \
    dataset.num_workers=1 \
    dataset.batch_size=16 \
    optimization.max_update=150 \
    optimization.lr=[1e-3] \
    optimization.update_freq=[1] \
    checkpoint.save_dir="$OUT/pretrained" \
    checkpoint.no_epoch_checkpoints=true \
    hydra.run.dir="$OUT/pretrained" \
    "+model.conv_feature_layers='[(32, 8, 4), (64, 4, 4), (64, 2, 2)]'" \
    +model.encoder_layers=2 \
    model.encoder_embed_dim=64 \
    +model.encoder_ffn_embed_dim=256 \
    +model.encoder_attention_heads=4 \
    +model.attention_dropout=0 \
    +model.conv_pos=32 \
    +model.conv_pos_groups=4 \
    model.final_dim=32 \
    +model.latent_vars=32 \
    +model.num_negatives=20

# After so short a pre-training the convolutions go on learning (feature_grad_mult); the recipe for
# ECG-FM keeps them as they are.
train "$OUT/diagnosis.log" fairseq-hydra-train \
    --config-name diagnosis \
    common.user_dir="$ROOT/fairseq_ecg" \
    common.log_format=simple \
    common.log_interval=50 \
    task.data="$OUT/data/manifests" \
    +task.label_file="$OUT/data/labels/y.npy" \
    +criterion.pos_weight="$(cat "$OUT/data/labels/pos_weight.txt")" \
    distributed_training.distributed_world_size=1 \
    dataset.num_workers=1 \
    dataset.batch_size=32 \
    dataset.disable_validation=true \
    optimization.max_update=300 \
    optimization.lr=[1e-3] \
    checkpoint.save_dir="$OUT/diagnosis" \
    checkpoint.no_epoch_checkpoints=true \
    hydra.run.dir="$OUT/diagnosis" \
    model.model_path="$OUT/pretrained/checkpoint_last.pt" \
    model.feature_grad_mult=1 \
    model.num_labels="$(($(wc -l < "$OUT/data/labels/label_def.csv") - 1))"

run fairseq-ecg evaluate "$OUT/diagnosis/checkpoint_last.pt" \
    --manifest "$OUT/data/manifests/test.tsv" \
    --labels "$OUT/data/labels/y.npy" \
    --label-def "$OUT/data/labels/label_def.csv" \
    --baseline untrained \
    --out "$OUT/scores.csv" \
    --require-auroc 0.9

run python "$ROOT/examples/demo/label_samples.py" \
    --recordings "$OUT/recordings" \
    --splits "$OUT/data/meta_split.csv" \
    --out "$OUT/waves"

# Crops of 4 s (max_sample_size) are enough to learn what a wave looks like.
train "$OUT/delineation.log" fairseq-hydra-train \
    --config-name unet3plus_12leads_aug \
    common.user_dir="$ROOT/fairseq_ecg" \
    common.log_format=simple \
    common.log_interval=50 \
    task.data="$OUT/waves" \
    task.sample_rate=250 \
    task.normalize=true \
    task.perturbation_mode=null \
    +task.max_sample_size=1000 \
    dataset.num_workers=1 \
    dataset.disable_validation=true \
    criterion.focal_loss=false \
    optimization.max_update=200 \
    optimization.lr=[5e-3] \
    checkpoint.save_dir="$OUT/delineation" \
    checkpoint.no_epoch_checkpoints=true \
    hydra.run.dir="$OUT/delineation" \
    model.backbone=unet \
    +model.initial_dim=8 \
    +model.dropout=0.1

run fairseq-ecg evaluate "$OUT/delineation/checkpoint_last.pt" \
    --manifest "$OUT/waves/test.tsv" \
    --out "$OUT/wave_scores.csv"

F1=$(awk -F, '$1 == "all" { printf "%.3f", $6 }' "$OUT/wave_scores.csv")
printf '\nF1 of onsets and offsets on held-out recordings: %s\n' "$F1"
if ! awk "BEGIN { exit !($F1 > 0.9) }"; then
    echo 'it does not exceed 0.9' >&2
    exit 1
fi

# Of the held-out recordings, the one with most labels.
RECORD=$(awk -F, '
    NR == FNR { if ($3 == "test") { gsub(/^simulated_|\.mat$/, "", $2); held_out[$2] } next }
    $1 in held_out { n = 0; for (i = 3; i <= NF; i++) n += $i; if (n > most) { most = n; name = $1 } }
    END { print name }
' "$OUT/data/meta_split.csv" "$OUT/recordings/labels.csv")

run fairseq-ecg plot "$OUT/recordings/$RECORD" \
    --checkpoint "$OUT/diagnosis/checkpoint_last.pt" \
    --label-def "$OUT/data/labels/label_def.csv" \
    --truth "$OUT/recordings/labels.csv" \
    --segmentor "$OUT/delineation/checkpoint_last.pt" \
    --out "$OUT/$RECORD.png"

printf '\nscores: %s\npicture: %s\n' "$OUT/scores.csv" "$OUT/$RECORD.png"
