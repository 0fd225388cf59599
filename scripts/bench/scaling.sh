#!/usr/bin/env bash
# Usage: scripts/bench/scaling.sh [arguments of scripts/bench/scaling.py]
# Weak and strong scaling over ranks of this machine, over network namespaces (--netns RATE) or over
# a host file: a table, runs/scaling/scaling.json and scaling.png.
#   PEPNET_VENV   the project's virtual environment (default: .venv); its tools' environment beside
#                 it has matplotlib
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
case ${1:-} in -h | --help) print_usage; exit 0 ;; esac

python=$(type -P "$venv-tools/bin/python3" || type -P "$venv/bin/python3") ||
  die "there is no $venv; run scripts/setup.sh --tests first, or set PEPNET_VENV"
run "$python" scripts/bench/scaling.py "$@"
