#!/usr/bin/env bash
# Reproduces the weights in motionloom/starter/mmm from the raw data: about 3.5 CPU hours on one AVX2 core, two at a time.
#   runs/mmm-starter.sh CMU_FOLDER BANDAI_FOLDER
# Result: tokenizer 3 stages, masked transformer, length predictor; then the figures of results/mmm-judge.json.
set -euo pipefail
cmu=$1 bandai=$2
bin=.venv/bin/motionloom
make setup
mkdir -p work
$bin data prepare --source "cmu=$cmu" --source "bandai=$bandai" --out work/store
export OMP_NUM_THREADS=1
$bin train configs/mmm-tokenizer.toml --store work/store --run work/mmm/tokenizer-1
$bin train configs/mmm-tokenizer-2.toml --store work/store --run work/mmm/tokenizer
# The decoder goes on learning while the transformer learns its tokens: neither changes what the other sees.
$bin train configs/mmm-tokenizer-3.toml --store work/store --run work/mmm/tokenizer-3 &
$bin train configs/mmm-masked.toml --store work/store --run work/mmm/masked
$bin train configs/mmm-length.toml --store work/store --run work/mmm/length
wait
for model in masked length; do cp -r "work/mmm/$model/model/." "motionloom/starter/mmm/$model/"; done
cp -r work/mmm/tokenizer-3/model/. motionloom/starter/mmm/tokenizer/
.venv/bin/python runs/judge_starter.py --store work/store --out results/mmm-judge.json
.venv/bin/python runs/reconstruct.py --store work/store --out results/mmm-tokenizer.json
