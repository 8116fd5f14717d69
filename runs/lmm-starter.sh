#!/bin/sh
# Train the diffusion model from a prepared store: two stages, in two processes; about half an hour on two cores.
#   runs/lmm-starter.sh STORE
# The store is that of the masked starter (`motionloom data prepare`, README). Speech is made by espeak-ng (a Debian
# package). The result is work/lmm/finetune/model, an engine's folder.
set -eu
store=$1
export OMP_NUM_THREADS=1
motionloom train configs/lmm-pretrain.toml --store "$store" --run work/lmm/pretrain --devices 2 --accelerator cpu
motionloom train configs/lmm-finetune.toml --store "$store" --run work/lmm/finetune --devices 2 --accelerator cpu
