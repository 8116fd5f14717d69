#!/bin/sh
# Train the diffusion model from a prepared store: three stages; about two hours on two cores.
#   runs/lmm-starter.sh STORE
# The store is that of the masked starter (`motionloom data prepare`, README). Speech is made by espeak-ng (a Debian
# package). The result is work/lmm/model, an engine's folder, and a copy of it in motionloom/starter/lmm.
set -eu
store=$1
export OMP_NUM_THREADS=1
# (The third stage of the published weights ran in one process; here all stages run in two.)
motionloom train lmm --store "$store" --run work/lmm --devices 2 --accelerator cpu
rm -rf motionloom/starter/lmm/diffusion
cp -r work/lmm/model motionloom/starter/lmm/diffusion
motionloom evaluate lmm --data "$store" --clips 128 --repeats 2 --no-variety --out results/lmm-evaluate.json
motionloom evaluate lmm --task conditions --data "$store" --clips 40 --seeds 1 --out results/lmm-tasks.json
python runs/lmm_denoising.py --store "$store"
python runs/ten_tasks.py
motionloom evaluate lmm --task rules --data "$store" --seeds 4 --lengths given --out results/lmm-judge.json
