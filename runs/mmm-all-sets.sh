#!/usr/bin/env bash
# From the starter of CMU and Bandai-Namco (runs/mmm-starter.sh, its parts in work/mmm) to one of all sets: an hour or
# two of one thread.
#   runs/mmm-all-sets.sh RAW     RAW holds cmu, bandai, smartbody, ui-prmd, hdm05, cmu-more, mesh2motion, cmu-captions
set -euo pipefail
raw=$1
bin=.venv/bin/motionloom
sources=()
for name in cmu bandai smartbody ui-prmd hdm05 cmu-more mesh2motion; do sources+=(--source "$name=$raw/$name"); done
$bin data prepare "${sources[@]}" --out work/store-all
export OMP_NUM_THREADS=1
train() { $bin train "$1" --store work/store-all --run "work/all/$2"; }
train mmm-body-tokenizer-3 tokenizer
.venv/bin/python runs/carry_over.py --store work/store-all --masked motionloom/starter/mmm/masked \
  --earlier motionloom/starter/mmm/tokenizer --later work/all/tokenizer/model --out work/all/masked-start
train mmm-masked-5 masked
train mmm-length length
train matcher-2 matcher
ship() { rm -rf "motionloom/starter/$2"; cp -r "work/all/$1/model" "motionloom/starter/$2"; }
for part in tokenizer masked length; do ship "$part" "mmm/$part"; done
ship matcher matcher
.venv/bin/python runs/novelty.py build --store work/store-all --out results/novelty.json
.venv/bin/python runs/check_actions.py work/store-all --out results/actions-rules.json
$bin evaluate mmm --task rules --only actions --seeds 6 --out results/mmm-actions.json
$bin evaluate mmm --task rules --data work/store-all --out results/mmm-judge.json
.venv/bin/python runs/reconstruct.py --store work/store-all --out results/mmm-tokenizer.json
$bin evaluate mmm --data work/store-all --repeats 5 --out results/mmm-evaluate.json
