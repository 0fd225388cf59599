#!/usr/bin/env bash
# Usage: scripts/launch.sh --servers N --workers M [--hostfile F] [--preset P] -- COMMAND [pepnet flags]
# Starts pepnet on N server and M worker ranks under mpirun, and prints the mpirun line it runs, for example
#   scripts/launch.sh --servers 2 --workers 2 -- train --pipeline_config_path configs/pepnet_movielens.config
# With --servers 0 --workers 1 pepnet runs as one process with its servers inside. Relative paths are relative to where
# you stand. --hostfile is mpirun's: one "host slots=K" per line; the program must lie at the same path on every host.
here=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
root=$PWD
cd "$here"

servers="" workers="" hostfile="" preset=release
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --servers | --workers | --hostfile | --preset)
      (($# > 1)) || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift ;;
    --servers=* | --workers=* | --hostfile=* | --preset=*)
      name=${1%%=*}
      printf -v "${name#--}" '%s' "${1#*=}" ;;
    --) shift; break ;;
    *) die "unknown argument '$1'; pepnet's own arguments stand behind --; see --help" ;;
  esac
  shift
done
[[ $servers =~ ^[0-9]+$ ]] || die "--servers needs a number, not '$servers'"
[[ $workers =~ ^[1-9][0-9]*$ ]] || die "--workers needs a number of at least 1, not '$workers'"
(($# > 0)) || die "no command for pepnet; write it behind --, for example: -- train --pipeline_config_path F"
program=$root/build/$preset/pepnet
[[ -x $program ]] || die "there is no $program; run scripts/build.sh --preset $preset first"

if ((servers == 0)); then
  ((workers == 1)) || die "$workers workers need servers of their own: give --servers at least 1"
  run exec "$program" "$@"
fi

ranks=$((servers + workers))
placement=(--bind-to none)  # otherwise mpirun pins each of few ranks to one core
if [[ -n $hostfile ]]; then
  [[ -r $hostfile ]] || die "cannot read the host file '$hostfile'"
  placement+=(--hostfile "$hostfile")
else
  # mpirun counts physical cores as slots and refuses more ranks than that.
  cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
  ((cores <= $(nproc))) || cores=$(nproc)
  ((ranks <= cores)) || placement+=(--oversubscribe)
fi
run exec mpirun -n "$ranks" "${placement[@]}" "$program" "$@" --num_servers="$servers"
