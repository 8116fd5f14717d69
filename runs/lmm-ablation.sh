#!/bin/sh
# Repeat LMM's ablation at a small size: cells hidden or not, many rates or one, ArtAttention or plain; and no prior.
#   runs/lmm-ablation.sh STORE      (forty minutes on a core; writes results/lmm-ablation.json)
set -eu
store=$1
export OMP_NUM_THREADS=1
runs=""
train() {
  name=$1; shift
  motionloom train lmm-small --store "$store" --run "work/lmm/ablation-$name" "$@"
  runs="$runs $name=work/lmm/ablation-$name"
}
train full
train no-masking --set loss.hide=false
train one-rate --set "data.rates=[20.0]"
train plain --set model.attention=plain
train no-prior --set model.linear_prior=false
# shellcheck disable=SC2086
python runs/lmm_ablation.py $runs --store "$store" --clips 40 --repeats 2 --seeds 1
