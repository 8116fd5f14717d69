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
$bin train matcher --store work/store --run work/matcher &
$bin train mmm --store work/store --run work/mmm
wait
ship() { rm -rf "motionloom/starter/$2"; cp -r "$1" "motionloom/starter/$2"; }
for part in tokenizer masked length; do ship "work/mmm/model/$part" "mmm/$part"; done
ship work/matcher/model matcher
$bin evaluate mmm --task rules --data work/store --out results/mmm-judge.json
.venv/bin/python runs/reconstruct.py --store work/store --out results/mmm-tokenizer.json
$bin evaluate mmm --data work/store --repeats 5 --out results/mmm-evaluate.json
