#!/usr/bin/env bash
# Usage: scripts/launch.sh --servers N --workers M [--hostfile F] [--preset P]
#                     [--max_restarts R] -- COMMAND [pepnet flags]
#        scripts/launch.sh --placement colocated --workers M ...         M ranks that work and serve
# Starts pepnet on N server and M worker ranks under mpirun, and prints the mpirun line it runs, for
# example
#   scripts/launch.sh --servers 2 --workers 2 -- train configs/pepnet_movielens.config
# With --servers 0 --workers 1 pepnet runs as one process with its servers inside. With --placement
# colocated each of the M ranks has a server beside its worker, so that M hosts need M ranks.
# Relative paths are relative to where you stand. Without a build the pepnet on PATH is started,
# that of the wheel. --hostfile is mpirun's: one "host slots=K" per line; the program must lie at
# the same path on every host. Inside a Slurm allocation the hosts are those of the allocation.
# Ctrl-C, and SIGTERM, SIGHUP (not under nohup) or SIGUSR1 to this script, ask for a checkpoint at
# the next step; it then ends with status 75 (start it again with --continue_train). A second Ctrl-C
# ends the job at once. After a failure it prints the job's report (model_dir/job_report.json,
# docs/reliability.md): a line per rank, and the first cause as the last line.
# --max_restarts R starts a failed train job again, up to R times, with --continue_train from its
# last whole checkpoint; it needs --model_dir among pepnet's flags. A failure that repeats at the
# same step ends it. --inject is for the first start only.
here=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
root=$PWD
cd "$here"

servers="" workers="" placement=dedicated hostfile="" preset="" restarts=0
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --max_restarts)
      (($# > 1)) || die "$1 needs a value"
      restarts=$2
      shift ;;
    --max_restarts=*) restarts=${1#*=} ;;
    --servers | --workers | --placement | --hostfile | --preset)
      (($# > 1)) || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift ;;
    --servers=* | --workers=* | --placement=* | --hostfile=* | --preset=*)
      name=${1%%=*}
      printf -v "${name#--}" '%s' "${1#*=}" ;;
    --) shift; break ;;
    *) die "unknown argument '$1'; pepnet's own arguments stand behind --; see --help" ;;
  esac
  shift
done
# At most 9,999 each, and without zeros in front, which bash would read as octal.
[[ $workers =~ ^[1-9][0-9]{0,3}$ ]] || die "--workers needs a number from 1 to 9999, not '$workers'"
case $placement in
  dedicated) ;;
  colocated)
    [[ -z $servers || $servers == "$workers" ]] ||
      die "--servers $servers with --placement colocated: each of the $workers workers serves;" \
        "leave --servers out"
    servers=$workers ;;
  *) die "--placement is '$placement', expected dedicated or colocated" ;;
esac
[[ $servers =~ ^(0|[1-9][0-9]{0,3})$ ]] ||
  die "--servers needs a number from 0 to 9999, not '$servers'"
[[ $restarts =~ ^(0|[1-9][0-9]{0,8})$ ]] ||
  die "--max_restarts needs a number from 0 to 999999999, not '$restarts'"
(($# > 0)) || die "no command for pepnet; write it behind --, for example: -- train F.config"
program=$root/build/${preset:-release}/pepnet
if [[ ! -x $program ]]; then
  [[ -z $preset ]] && command -v pepnet >/dev/null ||
    die "there is no $program; run scripts/build.sh --preset ${preset:-release} first," \
      "or put the pepnet of the wheel on PATH"
  program=$(command -v pepnet)
fi

if ((servers == 0)); then
  ((workers == 1)) || die "$workers workers need servers of their own: give --servers at least 1"
  job=("$program")
  suffix=()
else
  ranks=$((servers + workers))
  [[ $placement == dedicated ]] || ranks=$workers
  options=(--bind-to none)  # otherwise mpirun pins each of few ranks to one core
  if [[ -n $hostfile ]]; then
    [[ -r $hostfile ]] || die "cannot read the host file '$hostfile'"
    # The last ranks serve: distributed host by host, every host gets its share of servers and of
    # workers.
    options+=(--hostfile "$hostfile" --map-by node)
  elif [[ -n ${SLURM_JOB_ID:-} ]]; then
    options+=(--map-by node)  # on the hosts of the allocation
  else
    # mpirun counts physical cores as slots and refuses more ranks than that.
    cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
    ((cores <= $(nproc))) || cores=$(nproc)
    ((ranks <= cores)) || options+=(--oversubscribe)
  fi
  job=(mpirun -n "$ranks" "${options[@]}" "$program")
  suffix=(--num_servers="$servers")
  [[ $placement == dedicated ]] || suffix=(--placement="$placement")
fi

# A restart needs the directory of the job's state, and the arguments without faults.
model_dir="" config="" restart_arguments=() continues=""
expect=""
for argument in "$@"; do
  case $expect in
    model_dir) model_dir=$argument ;;
    config) config=$argument ;;
    inject) expect=""; continue ;;
  esac
  expect=""
  # `train shop.config`: behind the command, before any flag.
  [[ ${#restart_arguments[@]} != 1 || $argument == -* ]] || config=$argument
  case $argument in
    --model_dir=*) model_dir=${argument#*=} ;;
    --model_dir) expect=model_dir ;;
    --pipeline_config_path=*) config=${argument#*=} ;;
    --pipeline_config_path) expect=config ;;
    --inject=*) continue ;;
    --inject) expect=inject; continue ;;
    --continue_train) continues=yes ;;
  esac
  restart_arguments+=("$argument")
done
[[ -n $continues ]] || restart_arguments+=(--continue_train)
if ((restarts > 0)); then
  [[ $1 == train ]] || die "--max_restarts is for train, not for $1"
  [[ -n $model_dir ]] || die "--max_restarts needs --model_dir among pepnet's flags"
fi

[[ -n $model_dir || ! -r $config ]] ||
  model_dir=$(sed -nE 's/^ *model_dir: *"([^"]*)".*/\1/p' "$config" | tail -n 1)
report_file=$model_dir/job_report.json

# The progress of the job: "checkpoint 40, failed in step 57"; without a report of this start the
# last logged step.
progress() {
  local newest step
  newest=$(ls "$model_dir" 2>/dev/null |
    sed -nE 's/^model\.ckpt-([0-9]+)$/\1/p' | sort -n | tail -n 1)
  if report_is_new; then
    step="failed in step $(sed -nE 's/^  "step": ([0-9]+),?$/\1/p' "$report_file" | sed -n 1p)"
  else
    step=$(tail -n 1 "$model_dir/metrics.jsonl" 2>/dev/null | sed -nE 's/.*"step":([0-9]+).*/\1/p')
    step="logged step ${step:-none}"
  fi
  echo "checkpoint ${newest:-none}, $step"
}

# True if the last start has left a report of its failure: another one than before it.
report_is_new() {
  [[ -n $model_dir ]] && grep -qs '"status": "failed"' "$report_file" &&
    [[ $(<"$report_file") != "$report_before" ]]
}

# The lines of a report that are for people; the cause is the last one.
report_text() {
  sed -n '/^ "text": \[/,/^ \]/p' "$report_file" |
    sed -nE 's/^  "(.*)",?$/\1/p' | sed -e 's/\\"/"/g' -e 's/\\\\/\\/g'
}

log=$(mktemp)
child=""
trap 'rm -f "$log"' EXIT
ask_for_stop() { [[ -z $child ]] || kill -USR1 "$child" 2>/dev/null || true; }
trap ask_for_stop TERM USR1 HUP
interrupts=0 verb=$1
# The job does not see a terminal's Ctrl-C (launch()): mpirun would end it. Only a training can save
# and stop.
interrupt() {
  interrupts=$((interrupts + 1))
  if ((interrupts == 1)) && [[ $verb == train ]]; then
    echo "launch.sh: Ctrl-C: the training stops after the next step, with a checkpoint;" \
      "a second Ctrl-C ends it at once" >&2
    ask_for_stop
  else
    [[ -z $child ]] || kill -INT "$child" 2>/dev/null || true
  fi
}
trap interrupt INT

# launch ARGUMENTS...: runs the job and sets `status`. What mpirun's ranks say on stderr is kept in
# $log too.
launch() {
  report_before=$(cat "$report_file" 2>/dev/null || true)
  printf '+'
  printf ' %q' "${job[@]}" "$@" "${suffix[@]}"
  printf '\n'
  local keeper=""
  if ((servers > 0)); then
    exec 4> >(trap '' TERM USR1 INT HUP; exec tee "$log" >&2)
    keeper=$!
  fi
  # A process group of its own, which a terminal's Ctrl-C does not reach.
  set -m
  if ((servers > 0)); then
    "${job[@]}" "$@" "${suffix[@]}" 2>&4 4>&- </dev/null &
  else
    "${job[@]}" "$@" </dev/null &
  fi
  child=$!
  set +m
  status=0
  wait "$child" || status=$?
  # A signal ends `wait`, not the job.
  while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
  done
  child=""
  [[ -z $keeper ]] || { exec 4>&-; wait "$keeper" || true; }
}

# The first cause: that of the job's report; else the first error a rank wrote; else what mpirun
# says about a rank that could not speak.
cause() {
  local first
  if report_is_new && ! grep -q '"looks": "signal"' "$report_file"; then
    echo "pepnet: $(report_text | tail -n 1)"
    return
  fi
  first=$(grep -a -m 1 -E '^pepnet(_ps)?: ' "$log" || true)
  if [[ -z $first ]]; then
    local died='.*process rank ([0-9]+) .* on node ([^ ]+) exited on signal ([0-9]+).*'
    first=$(sed -nE "s/$died/pepnet: rank \\1 on host \\2 was killed by signal \\3/p" "$log" |
      sed -n 1p)
  fi
  echo "${first:-pepnet ended with status $status}"
}

arguments=("$@")
previous=""
for ((attempt = 0; ; ++attempt)); do
  launch "${arguments[@]}"
  ((status != 0 && status != 75)) || exit "$status"
  if ((interrupts > 0)); then
    echo "launch.sh: Ctrl-C ended the job$([[ $verb != train ]] ||
      echo "; --continue_train goes on from its last checkpoint")" >&2
    exit 130
  fi
  ((restarts > 0)) || break
  now=$(progress)
  if [[ $now == "$previous" ]]; then
    echo "launch.sh: the job failed twice in a row at the same place ($now);" \
      "another restart would not help" >&2
    break
  fi
  if ((attempt == restarts)); then
    echo "launch.sh: $restarts restarts are used up ($now)" >&2
    break
  fi
  echo "launch.sh: restart $((attempt + 1)) of $restarts ($now) after: $(cause)" >&2
  previous=$now
  arguments=("${restart_arguments[@]}")
done
if report_is_new; then
  echo "launch.sh: $report_file says of the ranks:" >&2
  report_text | head -n -1 | sed 's/^/  /' >&2
fi
((servers == 0)) && ! report_is_new || cause >&2
exit "$status"
