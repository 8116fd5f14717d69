#!/bin/sh
# Train the diffusion model from a prepared store: two stages, the second in two runs; about two hours on two cores.
#   runs/lmm-starter.sh STORE
# The store is that of the masked starter (`motionloom data prepare`, README). Speech is made by espeak-ng (a Debian
# package). The result is work/lmm/finetune-2/model, an engine's folder, and a copy of it in motionloom/starter/lmm.
set -eu
store=$1
export OMP_NUM_THREADS=1
motionloom train configs/lmm-pretrain.toml --store "$store" --run work/lmm/pretrain --devices 2 --accelerator cpu
motionloom train configs/lmm-finetune.toml --store "$store" --run work/lmm/finetune --devices 2 --accelerator cpu
motionloom train configs/lmm-finetune-2.toml --store "$store" --run work/lmm/finetune-2
rm -rf motionloom/starter/lmm/diffusion
cp -r work/lmm/finetune-2/model motionloom/starter/lmm/diffusion
motionloom evaluate lmm --data "$store" --clips 128 --repeats 2 --no-variety --out results/lmm-evaluate.json
motionloom evaluate-tasks lmm --data "$store" --clips 40 --seeds 1 --out results/lmm-tasks.json
python runs/lmm_denoising.py --store "$store"
python runs/ten_tasks.py
python runs/judge_starter.py --engine lmm --store "$store" --seeds 4 --lengths given --out results/lmm-judge.json
