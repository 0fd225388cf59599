# shellcheck shell=bash
# Bash completion for pepnet and launch.sh: commands, flags, the choices of a flag, and files for
# the rest.
#   source scripts/completion.bash          (in ~/.bashrc: with the full path)
# It asks the program that stands on the command line (--help, once per command and shell): it
# cannot fall behind.

declare -gA _pepnet_help

# _pepnet_ask PROGRAM [COMMAND]: sets `help` to what --help says.
_pepnet_ask() {
  local key="$*"
  [[ -n ${_pepnet_help[$key]:-} ]] || _pepnet_help[$key]=$("$@" --help 2>/dev/null)
  help=${_pepnet_help[$key]}
}

_pepnet() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local program=${COMP_WORDS[0]}
  local command=() help="" words subcommands i
  COMPREPLY=()
  # Bash cuts --flag=value into three words.
  [[ $word != = ]] || word=""
  [[ $previous != = ]] || previous=${COMP_WORDS[COMP_CWORD - 2]}
  for ((i = 1; i < COMP_CWORD; ++i)); do
    [[ ${COMP_WORDS[i]} != -* ]] || break
    command+=("${COMP_WORDS[i]}")
  done
  program=${program/#\~/$HOME}
  # Commands may have commands: `pepnet bench dense`.
  _pepnet_ask "$program"
  for ((i = 0;; ++i)); do
    subcommands=$(sed -nE '/^Subcommands:/,$s/^  ([a-z][a-z-]*) .*/\1/p' <<<"$help")
    [[ -n $subcommands && -n ${command[i]:-} ]] || break
    _pepnet_ask "$program" "${command[@]:0:i+1}"
  done
  if [[ -n $subcommands && $word != -* ]]; then
    words="$subcommands --help"
    ((i > 0)) || words+=" --version"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    return
  fi
  local choices=""
  # Only a flag may become a part of the pattern.
  [[ ! $previous =~ ^--[a-z_]+$ ]] ||
    choices=$(sed -nE "s/^  $previous [A-Z]+:\{([^}]*)\}.*/\1/p" <<<"$help")
  if [[ -n $choices ]]; then
    mapfile -t COMPREPLY < <(compgen -W "${choices//,/ }" -- "$word")
  elif [[ $word == -* ]]; then
    words=$(grep -oE -- '^  (-[a-z], ?)?--[a-z_]+' <<<"$help" | grep -oE -- '--[a-z_]+')
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  else
    compopt -o filenames 2>/dev/null || true
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}

# Its own flags in front of "--"; behind it those of the pepnet that it starts.
_pepnet_launch() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local script=${COMP_WORDS[0]}
  local help="" usage words="" preset=release i
  COMPREPLY=()
  [[ $word != = ]] || word=""
  [[ $previous != = ]] || previous=${COMP_WORDS[COMP_CWORD - 2]}
  script=${script/#\~/$HOME}
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${COMP_WORDS[i]} in
      --preset)
        preset=${COMP_WORDS[i + 1]}
        [[ $preset != = ]] || preset=${COMP_WORDS[i + 2]:-} ;;
      --)
        script=$(dirname "$script")/../build/$preset/pepnet
        [[ -x $script ]] || script=pepnet
        COMP_WORDS=("$script" "${COMP_WORDS[@]:i+1}")
        COMP_CWORD=$((COMP_CWORD - i))
        _pepnet
        return ;;
    esac
  done
  _pepnet_ask "$script"
  usage=$(sed -n '/^Usage:/,/^[^ U]/{/^[ U]/p}' <<<"$help")
  case $previous in
    --placement) words="dedicated colocated" ;;
    --preset) words="release debug asan tsan" ;;
    --hostfile) ;;
    --servers | --workers | --max_restarts) return ;;
    *) words="$(grep -oE -- '--[a-z_]+' <<<"$usage" | sort -u) -- --help" ;;
  esac
  if [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  else
    compopt -o filenames 2>/dev/null || true
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}

complete -F _pepnet pepnet
complete -F _pepnet_launch launch.sh
