#!/usr/bin/env bash
# Reproduces the weights in motionloom/starter from the raw data: about 6 CPU hours on AVX2 cores, two at a time.
#   runs/mmm-starter.sh CMU_FOLDER BANDAI_FOLDER
# Result: body-part tokenizer, masked transformer, length predictor and text-motion encoder; then the published figures.
set -euo pipefail
cmu=$1 bandai=$2
bin=.venv/bin/motionloom
make setup
mkdir -p work
$bin data prepare --source "cmu=$cmu" --source "bandai=$bandai" --out work/store
export OMP_NUM_THREADS=1
train() { $bin train "configs/$1.toml" --store work/store --run "work/mmm/$2"; }
train mmm-body-tokenizer body-tokenizer
# The decoder goes on learning while the transformer learns its tokens: neither changes what the other sees.
{ train mmm-body-tokenizer-2 body-tokenizer-2; train matcher matcher; } &
train mmm-masked masked-1
train mmm-masked-2 masked-2
train mmm-masked-3 masked-3
train mmm-masked-4 masked-4
train mmm-length length
wait
ship() { rm -rf "motionloom/starter/$2"; cp -r "work/mmm/$1/model" "motionloom/starter/$2"; }
ship body-tokenizer-2 mmm/tokenizer
ship masked-4 mmm/masked
ship length mmm/length
ship matcher matcher
.venv/bin/python runs/judge_starter.py --store work/store --out results/mmm-judge.json
.venv/bin/python runs/reconstruct.py --store work/store --out results/mmm-tokenizer.json
$bin evaluate mmm --data work/store --repeats 5 --out results/mmm-evaluate.json
