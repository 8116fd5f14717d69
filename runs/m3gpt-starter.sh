#!/usr/bin/env bash
# Reproduces the M3GPT starter from a store: about three and a half hours on one quiet AVX2 core.
#   runs/m3gpt-starter.sh STORE FOLDER
# The store is that of the masked starter (`motionloom data prepare`, README).
# Result: FOLDER with the checkpoints language, motion and music, which `--engine FOLDER` loads.
set -euo pipefail
store=$1 out=$2
bin=.venv/bin/motionloom
export OMP_NUM_THREADS=1
# Stage 1, tokenizers: the language model learns their codes, so they come first. Stage 2, alignment of the modalities;
# stage 3, instruction tuning.
$bin train m3gpt --store "$store" --run work/m3gpt
mkdir -p "$out"
cp -r work/m3gpt/model/. "$out"
# The language model and the motion tokenizer's decoder together, in motion space. Measured, but not in the starter
# (docs/m3gpt.md): the engine work/m3gpt/jointly.
$bin train m3gpt-joint --store "$store" --run work/m3gpt/joint --set data.start=work/m3gpt/language/model \
  --set data.motion=work/m3gpt/motion/model --set data.music=work/m3gpt/music/model
mkdir -p work/m3gpt/jointly
cp -r work/m3gpt/joint/model work/m3gpt/jointly/language
cp -r work/m3gpt/joint/motion work/m3gpt/jointly/motion
cp -r work/m3gpt/music/model work/m3gpt/jointly/music
for engine in "$out" work/m3gpt/jointly; do
  $bin evaluate "$engine" --data "$store" --split val --clips 160 --repeats 3 --no-variety --out "$engine/evaluate.json"
done
# What README and docs/m3gpt.md say of it.
python=.venv/bin/python
$bin evaluate m3gpt --task language --data "$store" --clips 64 --beside mmm --beside lmm --out results/m3gpt-evaluate.json
$bin evaluate m3gpt --task rules --data "$store" --seeds 4 --lengths given --out results/m3gpt-judge.json
$python runs/m3gpt_ablation.py --store "$store" --clips 64
$python runs/compose_picture.py
