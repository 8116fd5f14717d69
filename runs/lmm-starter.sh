#!/bin/sh
# Train the diffusion starter from a prepared store: two stages, 2 to 3 hours on two cores.
#   runs/lmm-starter.sh STORE
# The store is that of the masked starter (`motionloom data prepare`, README). Speech is made by espeak-ng (a Debian
# package). The result is work/lmm/finetune/model; copied to motionloom/starter/lmm/diffusion it is the starter.
set -eu
store=$1
export OMP_NUM_THREADS=1
motionloom train configs/lmm-pretrain.toml --store "$store" --run work/lmm/pretrain
motionloom train configs/lmm-finetune.toml --store "$store" --run work/lmm/finetune
