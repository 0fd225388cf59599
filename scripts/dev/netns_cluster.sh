#!/usr/bin/env bash
# Usage: scripts/dev/netns_cluster.sh up N [RATE]
#                 makes N hosts h1 .. hN on one bridge; RATE limits each host's link, e.g. 1gbit
#        scripts/dev/netns_cluster.sh run [mpirun options] -- COMMAND...
#                 runs mpirun across the hosts, started on h1
#        scripts/dev/netns_cluster.sh link H up|down
#                 disconnects host H, or connects it again
#        scripts/dev/netns_cluster.sh traffic
#                 prints the traffic of each host so far, as lines "h1 BYTES_SENT BYTES_RECEIVED
#                 PACKETS_SENT PACKETS_RECEIVED"; bytes with all headers
#        scripts/dev/netns_cluster.sh down
#                 removes everything
# A real cluster on one Linux machine: each host is a network namespace with its own address and
# name, and nothing passes between two hosts but TCP over a bridge. Needs root and iproute2. Every
# host sees the same files, like a shared file system. Example:
#   scripts/dev/netns_cluster.sh up 3 1gbit
#   scripts/dev/netns_cluster.sh run -n 6 --host h1:2,h2:2,h3:2 -- \
#     build/release/pepnet train --num_servers=3 --pipeline_config_path ...
#   scripts/dev/netns_cluster.sh down
#   PEPNET_CLUSTER   name of the cluster, at most 6 letters: two clusters of different names live
#                    side by side (default: pep)
#   PEPNET_SUBNET    the first three numbers of its addresses (default: 10.77.0)
here=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
script=$PWD/scripts/dev/netns_cluster.sh
cd "$here"

cluster=${PEPNET_CLUSTER:-pep}
subnet=${PEPNET_SUBNET:-10.77.0}
[[ $cluster =~ ^[a-z]{1,6}$ ]] || die "PEPNET_CLUSTER is '$cluster', expected 1 to 6 small letters"
[[ $subnet =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] ||
  die "PEPNET_SUBNET is '$subnet', expected three numbers, for example 10.77.0"

# A host is the namespace $cluster-hK; its link is the pair eth0 (inside) and $cluster-vK (on the
# bridge).
namespaces() {
  ip netns list 2>/dev/null | awk '{print $1}' | grep -E "^$cluster-h[0-9]+$" | sort -V || true
}
number_of() {  # h3 -> 3
  [[ $1 =~ ^h([0-9]+)$ ]] && [[ -e /run/netns/$cluster-$1 ]] ||
    die "there is no host '$1'; the hosts are: $(namespaces | sed "s/$cluster-//" | xargs)"
  echo "${BASH_REMATCH[1]}"
}
# ip netns exec binds these files over /etc while it runs a command in the namespace.
etc_of() { echo "/etc/netns/$cluster-h$1"; }

down() {
  local namespace
  for namespace in $(namespaces); do
    ip netns pids "$namespace" | xargs -r kill -9 2>/dev/null || true
    ip netns del "$namespace"
    rm -rf "/etc/netns/$namespace"
  done
  ip link del "$cluster-br" 2>/dev/null || true
}

# limit DEVICE RATE: what leaves through the device. A burst of 5 ms of traffic, at least a few
# large packets.
limit() {
  tc qdisc add dev "$1" root tbf rate "$2" burst 256kb latency 50ms
}

up() {
  local count=${1:-} rate=${2:-} k
  [[ $count =~ ^[1-9][0-9]?$ ]] || die "up needs the number of hosts, 1 to 99, not '$count'"
  [[ -z $(namespaces) ]] ||
    die "the cluster '$cluster' is up already; take it down first, or set PEPNET_CLUSTER"
  trap 'down' ERR
  ip link add "$cluster-br" type bridge
  ip addr add "$subnet.254/24" dev "$cluster-br"
  ip link set "$cluster-br" up
  for ((k = 1; k <= count; ++k)); do
    ip netns add "$cluster-h$k"
    ip link add "$cluster-v$k" type veth peer name eth0 netns "$cluster-h$k"
    ip link set "$cluster-v$k" master "$cluster-br" up
    ip -n "$cluster-h$k" addr add "$subnet.$k/24" dev eth0
    ip -n "$cluster-h$k" link set lo up
    ip -n "$cluster-h$k" link set eth0 up
    mkdir -p "$(etc_of "$k")"
    {
      echo "127.0.0.1 localhost"
      for ((j = 1; j <= count; ++j)); do echo "$subnet.$j h$j"; done
    } >"$(etc_of "$k")/hosts"
    if [[ -n $rate ]]; then
      limit "$cluster-v$k" "$rate"  # to the host
      # The traffic from the host.
      ip netns exec "$cluster-h$k" \
        tc qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 50ms
    fi
  done
  trap - ERR
  echo "cluster '$cluster': $count hosts, h1 ($subnet.1) to h$count, links ${rate:-unlimited}"
}

# on HOST COMMAND...: runs the command there, under the host's own name.
on() {
  local host=$1
  shift
  number_of "$host" >/dev/null
  exec ip netns exec "$cluster-$host" unshare --uts -- \
    sh -c 'hostname "$0" && exec "$@"' "$host" "$@"
}

case ${1:-} in
  -h | --help) print_usage; exit 0 ;;
  "") die "nothing to do; see --help" ;;
esac
((EUID == 0)) || die "making network namespaces needs root"
for tool in ip tc unshare; do
  command -v "$tool" >/dev/null || die "there is no '$tool'; install iproute2 and util-linux"
done
verb=$1
shift
case $verb in
  up) up "$@" ;;
  down) down ;;
  on) on "$@" ;;
  # mpirun's remote shell: HOST COMMAND..., the command as words for a shell.
  rsh) host=$1; shift; on "$host" bash -c "$*" ;;
  link)
    number=$(number_of "${1:-}")
    [[ ${2:-} == up || ${2:-} == down ]] || die "link needs a host and 'up' or 'down'"
    ip link set "$cluster-v$number" "$2" ;;
  traffic)
    for namespace in $(namespaces); do
      # The bridge's end receives what the host sends.
      device=/sys/class/net/$cluster-v${namespace##*-h}/statistics
      echo "${namespace#"$cluster-"}" \
        "$(cat "$device"/{rx,tx}_bytes "$device"/{rx,tx}_packets | xargs)"
    done ;;
  run)
    options=()
    while (($#)) && [[ $1 != -- ]]; do options+=("$1"); shift; done
    (($# > 1)) || die "run needs a command behind --"
    shift
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    on h1 mpirun --mca plm_rsh_agent "$script rsh" --mca oob_tcp_if_include "$subnet.0/24" \
      --mca btl tcp,self --mca btl_tcp_if_include "$subnet.0/24" --bind-to none \
      "${options[@]}" "$@" ;;
  *) die "unknown command '$verb'; see --help" ;;
esac
