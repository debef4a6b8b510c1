#!/usr/bin/env bash
# Parity and speed of one GPU, in one JSON. `--help` says more.
set -euo pipefail

usage() {
  cat <<'END'
usage: benchmarks/gpu.sh [--quick] [--peers] [--device NAME] [--minutes M] [--python PYTHON] [FILE]

Compares what a GPU computes with references. Then times decoding (N = 1, 16, 64, 256), a prompt,
scoring (batches of 1 to 1024) and a file of a 7B's shape, beside the device's limits.

FILE (default: gpu- and the time) is the JSON of all that. It is written anew with each number, so
that Ctrl-C and a part that fails lose none. The exit status is 0, 1 where a part failed, and 130
after Ctrl-C.

  --quick          tiny models and few texts: sees that all of it runs
  --peers          install torch and transformers, too; where they are, they are timed, too
  --device NAME    of tinygrad (default: the variable DEV, else CUDA)
  --minutes M      what is not measured by then is left out (default: 6; with --quick 60)
  --python PYTHON  one that has what edifice_tt's extra `demo` brings, and pytest; nothing is
                   installed there. Without it an environment is made in .venv-gpu, and its
                   minutes do not count.
END
}

fail() { printf 'benchmarks/gpu.sh: %s\n' "$*" >&2; exit 2; }

quick= peers= minutes= python= device=${DEV:-CUDA} file=gpu-$(date +%Y-%m-%d-%H%M%S).json
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --quick) quick=--quick ;;
    --peers) peers=1 ;;
    --device | --minutes | --python)
      [ $# -gt 1 ] || fail "$1 needs a value; --help tells which"
      declare "${1#--}=$2"; shift ;;
    -*) fail "unknown option $1; --help lists them" ;;
    *) file=$1 ;;
  esac
  shift
done
minutes=${minutes:-$([ "$quick" ] && echo 60 || echo 6)}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail "--minutes $minutes must be a whole number from 1"
[ ! -e "$file" ] || fail "$file exists; name another file, or remove it"
mkdir -p "$(dirname "$file")"
file=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
cd "$(dirname "$0")/.."

# The newest NVRTC that the driver takes: it compiles for its own version and older ones.
driver() { nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/\1/p' || true; }
nvrtc() {
  case $(driver) in
    12.*) echo "nvidia-cuda-nvrtc-cu12==$(driver).*" "nvidia-cuda-runtime-cu12==$(driver).*" ;;
    *) echo nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12 ;;
  esac
}

if [ -z "$python" ]; then
  python=$PWD/.venv-gpu/bin/python
  [ -x "$python" ] || python3 -m venv .venv-gpu
  "$python" -m pip install --quiet -e '.[demo]' pytest
  if [ "${device%%:*}" = CUDA ] || [ "${device%%:*}" = NV ]; then
    "$python" -m pip install --quiet $(nvrtc)
  fi
  [ -z "$peers" ] || "$python" -m pip install --quiet torch transformers accelerate gguf
fi
export DEV=$device PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
[ "$quick" ] || "$python" -m edifice_tt pull smollm2-135m >/dev/null
wheels=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia
if [ -z "${NVRTC_PATH:-}" ] && [ -f "$wheels/cuda_nvrtc/lib/libnvrtc.so.12" ]; then
  export NVRTC_PATH=$wheels/cuda_nvrtc/lib/libnvrtc.so.12
fi
[ -n "${CUDA_PATH:-}" ] || [ ! -d "$wheels/cuda_runtime" ] || export CUDA_PATH=$wheels/cuda_runtime

begun=$(date +%s) failed=0
# A part, with the percentage of all minutes that are over at its end at the latest.
part() {
  local name=$1 share=$2 status=0
  shift 2
  "$python" benchmarks/record.py --until $((begun + minutes * 60 * share / 100)) "$file" "$name" \
    "$python" "$@" || status=$?
  [ $status -ne 130 ] || { echo "interrupted; $file holds what was measured" >&2; exit 130; }
  [ $status -eq 0 ] || failed=1
}
bench() {
  local name=$1 share=$2 script=$3
  shift 3
  part "$name" "$share" "benchmarks/$script" --keep "$file" "$name" $quick "$@"
}
torch=none
! "$python" -c 'import transformers, torch; torch.cuda.init()' 2>/dev/null || torch=cuda

sizes=full
[ -z "$quick" ] || sizes="quick: tiny models of random weights, few texts, and some checks of all"
part run 100 -c 'import json, sys; print(json.dumps(dict(arg.split("=", 1) for arg in sys.argv[1:])))' \
  "device=$device" "sizes=$sizes" "minutes=$minutes" "driver takes CUDA=$(driver)"
bench limits 10 machine.py --device "$device"
if [ "$quick" ]; then
  export POCL_EXTRA_BUILD_FLAGS=-cl-opt-disable # compiles in half the time
  part parity 30 tests/devices/parity.py --judge --only 'logits float32' 'golden tiny' \
    'groups Q4_0' 'logits Q4_K' 'generate Q8_0'
  unset POCL_EXTRA_BUILD_FLAGS
  bench steps 50 gpu.py --rows 1 16 --cold 1 --peer-device $torch
  bench decode 70 decode.py --shape tiny --rows 1 16 64 256 --batch-size 256 \
    --activations float32 --peer-device $torch
  bench prefill 80 prefill.py --shape tiny --activations float32 --tokens 128 --peer-device $torch
  bench score 90 score.py --batches 1 4 --peer-device $torch
  bench shaped 100 gpu.py --shape tiny --mix Q8_0 --rows 1 64 --cold --alone --peer-device $torch
else
  part parity 28 tests/devices/parity.py --judge
  bench steps 40 gpu.py --rows 1 16 --cold 16 --repeats 3 --peer-device $torch
  bench decode 54 decode.py --rows 1 16 64 256 --batch-size 256 --activations float32 \
    --repeats 3 --peer-device $torch
  bench prefill 58 prefill.py --activations float32 --repeats 3 --peer-device $torch
  bench score 66 score.py --batches 1 4 16 64 256 1024 --repeats 3 --peer-device $torch
  # The file of 8 GB is written within the time; in memory, where there is much of it.
  room=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
  [ "${room:-0}" -lt 16000000 ] || export TMPDIR=/dev/shm
  bench shaped 100 gpu.py --shape Mistral-7B --mix Q8_0 --rows 1 64 --cold --alone --repeats 3 \
    --peer-device $torch
fi
echo "wrote $file" >&2
exit $failed
