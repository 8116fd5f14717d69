#!/usr/bin/env bash
# Reproduces the M3GPT starter from a store: about three hours on one quiet AVX2 core.
#   runs/m3gpt-starter.sh STORE FOLDER
# Result: FOLDER with the checkpoints language, motion and music, which `--engine FOLDER` loads.
set -euo pipefail
store=$1 out=$2
bin=.venv/bin/motionloom
export OMP_NUM_THREADS=1
train() { $bin train "configs/m3gpt-$1.toml" --store "$store" --run "work/m3gpt/$1"; }
# Stage 1, tokenizers: the language model learns their codes, so they come first.
train motion
train music
# Stage 2, alignment of the modalities; stage 3, instruction tuning.
train pretrain
train instruct
# The language model and the motion tokenizer's decoder together, in motion space.
train joint
mkdir -p "$out"
cp -r work/m3gpt/joint/model "$out/language"
cp -r work/m3gpt/joint/motion "$out/motion"
cp -r work/m3gpt/music/model "$out/music"
