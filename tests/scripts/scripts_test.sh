#!/usr/bin/env bash
# Usage: tests/scripts/scripts_test.sh REPOSITORY
# Runs the scripts in a scratch repository whose programs are stand-ins: what a script passes on,
# what it refuses, and with which exit status it ends.
set -euo pipefail
repository=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/a clone/build/release/tests" "$scratch/bin"
cp -r "$repository/scripts" "$scratch/a clone/"
scripts="$scratch/a clone/scripts"
release="$scratch/a clone/build/release"
failures=0

# expect NAME STATUS PATTERN COMMAND...: the command ends with STATUS and its output matches the
# regular expression.
expect() {
  local name=$1 wanted_status=$2 pattern=$3 status=0 output
  shift 3
  output=$("$@" 2>&1) || status=$?
  if [[ $status != "$wanted_status" ]] || ! grep -qE -e "$pattern" <<<"$output"; then
    printf 'FAILED %s: status %s (wanted %s), output (wanted /%s/):\n%s\n' \
      "$name" "$status" "$wanted_status" "$pattern" "$output"
    failures=$((failures + 1))
  else
    echo "ok     $name"
  fi
}

stand_in() {
  cat >"$1"
  chmod +x "$1"
}

stand_in "$release/pepnet" <<'SH'
#!/usr/bin/env bash
printf 'pepnet in %s:' "$PWD"; printf ' [%s]' "$@"; echo
SH
stand_in "$scratch/bin/mpirun" <<'SH'
#!/usr/bin/env bash
printf 'mpirun as root %s:' "$OMPI_ALLOW_RUN_AS_ROOT$OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"
printf ' [%s]' "$@"; echo
exit 7
SH
stand_in "$scratch/bin/nproc" <<'SH'
#!/usr/bin/env bash
echo 2
SH
mkdir -p "$scratch/a clone/build/mutants/tests"
stand_in "$scratch/a clone/build/mutants/tests/laws_test" <<'SH'
#!/usr/bin/env bash
for argument in "$@"; do
  case $argument in
    --list_mutants) printf 'L2 red_one\nL3 crash\nL4 unseen\nL5 red_elsewhere\n'; exit ;;
    --mutant=red_one)
      printf '[  FAILED  ] LawTest.One (3 ms)\n[  FAILED  ] 1 test, listed below:\n'; exit 1 ;;
    # Only the tests of other laws notice it.
    --mutant=red_elsewhere) [[ "$*" == *"--gtest_filter=L5*:*/L5*"* ]] && exit 0
      printf '[  FAILED  ] OtherLaw.Test (3 ms)\n'; exit 1 ;;
    --mutant=crash) echo "died early"; exit 134 ;;
  esac
done
[[ ! -e $(dirname "$0")/already_red ]]
SH
export PATH="$scratch/bin:$PATH"

for script in "$scripts"/*.sh "$scripts"/*/*.sh; do
  [[ $(basename "$script") == common.sh ]] && continue
  name=${script#"$scripts"/}
  expect "$name --help" 0 "^Usage: scripts/$name" bash "$script" --help
  # Flags are spelt as pepnet's own are: words_with_underscores.
  expect "$name: its flags have underscores" 1 '^$' \
    bash -c 'bash "$1" --help | sed -n "/^Usage:/,/^[^U ]/p" |
      grep -oE -- "(^|[^a-z])--[a-z_]+-[a-z-]+"' _ "$script"
done

expect "compare: no virtual environment" 1 'run scripts/setup.sh first' \
  env PEPNET_VENV="$scratch/nowhere" bash "$scripts/bench/compare.sh" --rounds 1

launch=(bash "$scripts/launch.sh")
on_one_host='\[--bind-to\] \[none\] \[--oversubscribe\] \[.*/pepnet\] \[train\]'
expect "launch: ranks are servers plus workers, words stay whole, status is passed on" 7 \
  "\[-n\] \[5\] $on_one_host \[--x\] \[a b\] \[--num_servers=2" \
  "${launch[@]}" --servers 2 --workers=3 -- train --x "a b"
expect "launch: colocated ranks work and serve" 7 \
  "\[-n\] \[3\] $on_one_host \[--placement=colocated" \
  "${launch[@]}" --placement colocated --workers 3 -- train
expect "launch: colocated with other servers" 1 \
  "each of the 3 workers serves; leave --servers out" \
  "${launch[@]}" --placement=colocated --servers 2 --workers 3 -- train
expect "launch: another placement" 1 "expected dedicated or colocated" \
  "${launch[@]}" --placement near --workers 3 -- train
expect "launch: as root" 7 'as root 11' "${launch[@]}" --servers 1 --workers 1 -- train
echo "h1 slots=4" >"$scratch/hosts"
expect "launch: a host file's slots are not oversubscribed, every host serves" 7 \
  '\[--bind-to\] \[none\] \[--hostfile\] \[.*/hosts\] \[--map-by\] \[node\] \[/' \
  "${launch[@]}" --servers 4 --workers 4 --hostfile "$scratch/hosts" -- train
expect "launch: the hosts of a Slurm allocation" 7 \
  '\[--bind-to\] \[none\] \[--map-by\] \[node\] \[/' \
  env SLURM_JOB_ID=7 "${launch[@]}" --servers 4 --workers 4 -- train
stand_in "$scratch/bin/mpirun_that_dies" <<'SH'
#!/usr/bin/env bash
count=$(($(cat "$TEST_MODEL_DIR/count" 2>/dev/null || echo 0) + 1))
echo "$count" >"$TEST_MODEL_DIR/count"
printf 'start %s:' "$count"; printf ' [%s]' "$@"; echo
case $TEST_WAY in
  twice) mkdir -p "$TEST_MODEL_DIR/model.ckpt-$((count * 10))"; ((count < 3)) || exit 0 ;;
  same) ;;
  signal)
    echo "mpirun noticed that process rank 2 with PID 9 on node h exited on signal 9 (Killed)." >&2
    exit 137
    ;;
  report)
    cat >"$TEST_MODEL_DIR/job_report.json" <<JSON
{
 "status": "failed",
 "certainty": 2,
 "first_cause": {
  "message": "x",
  "looks": "hung",
  "step": $((TEST_STEP + count * TEST_STEPS_ON))
 },
 "text": [
  "rank 0: alive ($count)",
  "rank 2 \\"x\\" is hung"
 ]
}
JSON
    ;;
  wait)
    trap 'echo got USR1; exit 75' USR1
    touch "$TEST_MODEL_DIR/ready"
    while :; do sleep 0.05; done
    ;;
esac
echo "pepnet: the first cause" >&2
echo "pepnet: another rank's error" >&2
echo "mpirun: a banner" >&2
exit 1
SH
mkdir "$scratch/dying" && ln -s ../bin/mpirun_that_dies "$scratch/dying/mpirun"
# dying WAY COMMAND...: with an mpirun that fails in this way, and a fresh model_dir.
dying() {
  rm -rf "$scratch/model" && mkdir "$scratch/model"
  TEST_WAY=$1 TEST_MODEL_DIR=$scratch/model PATH="$scratch/dying:$PATH" "${@:2}"
}
restarting=(
  "${launch[@]}" --servers 1 --workers 1 --max_restarts 5
  -- train --model_dir "$scratch/model" --inject kill:step=3)
expect "launch: restarts until the job is done" 0 'start 3:.*\[--continue_train\]' \
  dying twice "${restarting[@]}"
expect "launch: the first start injects" 0 'start 1:.*\[kill:step=3\]' \
  dying twice "${restarting[@]}"
expect "launch: later starts do not" 0 \
  'start 2: [^:]*\[--model_dir\] \[[^]]*\] \[--continue_train\]' dying twice "${restarting[@]}"
expect "launch: a failure that repeats at the same place ends it" 1 \
  'failed twice in a row at the same place .checkpoint none' \
  dying same "${restarting[@]}"
expect "launch: the first cause is the last line" 1 '^pepnet: the first cause$' \
  bash -c '"$@" 2>&1 | tail -n 1; exit "${PIPESTATUS[0]}"' _ \
  env TEST_WAY=same TEST_MODEL_DIR="$scratch/model" PATH="$scratch/dying:$PATH" \
  "${launch[@]}" --servers 1 --workers 1 -- train
reported=(env TEST_STEP=57 TEST_STEPS_ON=0)
expect "launch: the report's cause is the last line" 1 '^pepnet: rank 2 "x" is hung$' \
  bash -c '"$@" 2>&1 | tail -n 1; exit "${PIPESTATUS[0]}"' _ \
  env TEST_WAY=report TEST_MODEL_DIR="$scratch/model" TEST_STEP=1 TEST_STEPS_ON=0 \
  PATH="$scratch/dying:$PATH" \
  "${launch[@]}" --servers 1 --workers 1 -- train --model_dir "$scratch/model"
printf 'model_dir: "%s"\n' "$scratch/model" >"$scratch/named.config"
for named in "$scratch/named.config" "--pipeline_config_path $scratch/named.config"; do
  # shellcheck disable=SC2086
  expect "launch: the report of the config's model_dir (${named%% *})" 1 '^  rank 0: alive' \
    dying report "${reported[@]}" "${launch[@]}" --servers 1 --workers 1 -- train $named
done
expect "launch: the report's ranks stand before it" 1 '^  rank 0: alive' \
  dying report "${reported[@]}" "${restarting[@]}"
rm -f "$scratch/model/job_report.json"
expect "launch: a failure that repeats at the same step ends it" 1 \
  'at the same place .checkpoint none, failed in step 57.' \
  dying report "${reported[@]}" "${restarting[@]}"
expect "launch: a failure at another step does not" 1 \
  '5 restarts are used up .checkpoint none, failed in step 6.' \
  dying report env TEST_STEP=0 TEST_STEPS_ON=1 "${restarting[@]}"
expect "launch: a rank that could not speak" 137 \
  '^pepnet: rank 2 on host h was killed by signal 9' \
  dying signal "${launch[@]}" --servers 1 --workers 1 -- train
terminate_when_ready() {
  "${restarting[@]}" &
  local script=$!
  for _ in $(seq 200); do [[ -e $scratch/model/ready ]] && break; sleep 0.05; done
  kill -TERM "$script"
  wait "$script"
}
expect "launch: SIGTERM becomes SIGUSR1, and 75 is no failure" 75 'got USR1' \
  dying wait terminate_when_ready
expect "launch: restarts need to know where" 1 'needs --model_dir' \
  "${launch[@]}" --servers 1 --workers 1 --max_restarts 2 -- train
cd "$scratch"
expect "launch: one process where the caller stands" 0 "pepnet in $scratch: \[eval\] \[--y\]" \
  "${launch[@]}" --servers 0 --workers 1 -- eval --y
expect "launch: workers without servers" 1 'need servers' \
  "${launch[@]}" --servers 0 --workers 2 -- train
expect "launch: no number" 1 "not 'x'" "${launch[@]}" --servers x --workers 2 -- train
for number in 08 99999999999999999999 10000 -1 2x ""; do
  expect "launch: workers '$number'" 1 "--workers needs a number from 1 to 9999, not '$number'" \
    "${launch[@]}" --servers 1 --workers "$number" -- train
  [[ -z $number ]] ||
    expect "launch: servers '$number'" 1 "--servers needs a number from 0 to 9999, not '$number'" \
      "${launch[@]}" --workers 1 --servers "$number" -- train
done
expect "launch: restarts" 1 "--max_restarts needs a number from 0 to 999999999, not '08'" \
  "${launch[@]}" --servers 1 --workers 1 --max_restarts 08 -- train --model_dir m
expect "launch: no command" 1 'no command' "${launch[@]}" --servers 1 --workers 2
expect "launch: missing host file" 1 'cannot read' \
  "${launch[@]}" --servers 1 --workers 1 --hostfile nowhere -- train
expect "launch: missing program" 1 'build.sh --preset debug' \
  "${launch[@]}" --servers 1 --workers 1 --preset debug -- train
mkdir "$scratch/on_path"
stand_in "$scratch/on_path/pepnet" <<'SH'
#!/usr/bin/env bash
printf 'the wheel:'; printf ' [%s]' "$@"; echo
SH
mv "$release/pepnet" "$release/away"
expect "launch: without a build the pepnet on PATH" 0 '^the wheel: \[eval\] \[--y\]$' \
  env PATH="$scratch/on_path:$PATH" "${launch[@]}" --servers 0 --workers 1 -- eval --y
expect "launch: not if a preset is named" 1 'build.sh --preset release first' \
  env PATH="$scratch/on_path:$PATH" "${launch[@]}" --servers 0 --workers 1 --preset release -- eval
expect "launch: no program at all" 1 \
  'build.sh --preset release first, or put the pepnet of the wheel on PATH' \
  "${launch[@]}" --servers 0 --workers 1 -- eval
mv "$release/away" "$release/pepnet"
expect "launch: unknown argument" 1 "unknown argument '--sevrers'" "${launch[@]}" --sevrers 1

mutants=(bash "$scripts/dev/mutants.sh" --no_build)
expect "mutants: names the red test" 0 'red_one +red: LawTest.One$' "${mutants[@]}" red_one
expect "mutants: tests of other laws run where those of its own stay green" 0 \
  'red_elsewhere +red: OtherLaw.Test$' "${mutants[@]}" red_elsewhere
expect "mutants: a green run is a survivor" 1 '1 of 1 mutants survived: unseen' \
  "${mutants[@]}" unseen
expect "mutants: a crash proves nothing" 1 'status 134, saying' "${mutants[@]}" crash
expect "mutants: all by default" 1 '2 of 4 mutants survived: crash unseen' "${mutants[@]}"
expect "mutants: unknown name" 1 "no mutant 'x'; known: red_one crash unseen red_elsewhere" \
  "${mutants[@]}" x
touch "$scratch/a clone/build/mutants/tests/already_red"
expect "mutants: red without a mutant" 1 'fail without a mutant' "${mutants[@]}" red_one

expect "build: unknown preset" 1 "no preset 'fast'" bash "$scripts/build.sh" --preset fast
expect "test: preset without a name" 1 'needs a name' bash "$scripts/test.sh" --preset
# A pip that knows no CPU build where the name of its environment says so, and GPUs where a driver
# tells of one.
for environment in with_cpu_build without_cpu_build; do
  mkdir -p "$scratch/$environment/bin"
  stand_in "$scratch/$environment/bin/python3" <<'SH'
#!/usr/bin/env bash
[[ $0 == */with_cpu_build/* || $* != *+cpu* ]] && echo "installed ${!#}"
SH
done
mkdir -p "$scratch/gpu"
stand_in "$scratch/gpu/nvidia-smi" <<'SH'
#!/usr/bin/env bash
echo "GPU 0: a stand-in"
SH
installs_torch() {  # ENVIRONMENT
  bash -c 'set -e; source "$1"; install_torch "$2"' \
    "$scripts/setup.sh" "$scripts/common.sh" "$scratch/$1"
}
with_gpu() { PATH=$scratch/gpu:$PATH "$@"; }
expect "torch: the CPU build without a GPU" 0 '^installed torch==[0-9.]+\+cpu$' \
  installs_torch with_cpu_build
expect "torch: no CPU build is said" 0 'several gigabytes on PyPI' installs_torch without_cpu_build
expect "torch: goes on without a CPU build" 0 '^installed torch==[0-9.]+$' \
  installs_torch without_cpu_build
expect "torch: the plain build with a GPU" 0 '^installed torch==[0-9.]+$' \
  with_gpu installs_torch with_cpu_build

expect "quickstart: no such wheel" 1 'there is no wheel at that path' \
  bash "$scripts/quickstart.sh" --wheel none.whl
expect "setup: unknown argument" 1 "unknown argument 'now'" bash "$scripts/setup.sh" now

# gpu_check.sh where there is no GPU, where libtorch has no CUDA, and with stand-ins for all that it
# starts.
gpu_check=(
  env PATH="$scratch/gpu_bin:$PATH" PEPNET_TORCH_DIR="$scratch/libtorch" PEPNET_VENV="$scratch/venv"
  bash "$scripts/dev/gpu_check.sh")
mkdir -p "$scratch/gpu_bin" "$scratch/libtorch/lib" "$scratch/venv/bin" "$scratch/a clone/build/gpu"
ln -sf "$(command -v python3)" "$scratch/venv/bin/python3"
stand_in "$scratch/gpu_bin/nvidia-smi" <<'SH'
#!/usr/bin/env bash
[[ -z ${TEST_NO_DRIVER:-} ]] || { echo "no devices were found"; exit 6; }
echo "A GPU"
SH
for program in cmake ctest; do
  stand_in "$scratch/gpu_bin/$program" <<'SH'
#!/usr/bin/env bash
printf '%s:' "$(basename "$0")"; printf ' [%s]' "$@"; echo
[[ $0 != *ctest ]] || echo "${TEST_CTEST:-1/1 Test #1: x ... Passed}"
SH
done
stand_in "$scratch/a clone/build/gpu/pepnet" <<'SH'
#!/usr/bin/env bash
while (($#)); do
  [[ $1 != --json ]] ||
    echo '{"rows": [{"batch": 8, "speed": {"median": 1234}, "step": 6.5,' \
      '"engine": "reference"}]}' >"$2"
  shift
done
SH
expect "gpu_check: no GPU" 77 'nvidia-smi finds no GPU: no devices were found' \
  env TEST_NO_DRIVER=1 "${gpu_check[@]}"
expect "gpu_check: no CUDA" 77 'has no CUDA .* set PEPNET_TORCH_DIR' "${gpu_check[@]}"
touch "$scratch/libtorch/lib/libtorch_cuda.so"
expect "gpu_check: one table" 0 '^dense: reference +8 +1234 +6.50$' \
  "${gpu_check[@]}" --train_input_path x
expect "gpu_check: CPU and GPU are measured" 0 '^train on the gpu, deterministic: reference ' \
  "${gpu_check[@]}" --train_input_path x
expect "gpu_check: with that libtorch" 0 'cmake: .*PEPNET_TORCH_DIR=.*/libtorch' \
  "${gpu_check[@]}" --train_input_path x
expect "gpu_check: a skipped test is a failure" 1 'label gpu: FAILED' \
  env TEST_CTEST="1/1 Test #1: x ...***Skipped" "${gpu_check[@]}" --train_input_path x
expect "gpu_check: unknown argument" 1 "unknown argument '--x'" "${gpu_check[@]}" --x

((failures == 0)) || { echo "$failures checks failed"; exit 1; }
