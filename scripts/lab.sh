#!/usr/bin/env bash
# The lab: two network namespaces joined by one veth pair, so that the gateway's XDP program meets real
# packets without touching this machine's own interfaces.
#
#   culvert-tx                         culvert-gw
#   tx0 10.88.0.2  fd00:88::2  ──────  gw0 10.88.0.1  fd00:88::1
#
# usage: [QUEUES=2] scripts/lab.sh up|down|status
#
# Enter one with `nsenter --net=/run/netns/culvert-gw COMMAND`. Not with `ip netns exec`: that mounts a new
# /sys, and what is pinned under /sys/fs/bpf cannot be seen any more.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

gateway=culvert-gw
sender=culvert-tx
queues=${QUEUES:-2}

gw() { ip -n "$gateway" "$@"; }
tx() { ip -n "$sender" "$@"; }

exists() { [ -e "/run/netns/$1" ]; }

# The pair is complete when both ends are up and have as many queues as asked for.
complete() {
  exists "$gateway" && exists "$sender" || return 1
  local have
  have=$(gw -d -o link show gw0 up 2>/dev/null | grep -o 'numrxqueues [0-9]*' | cut -d' ' -f2) || return 1
  [ "$have" = "$queues" ] && tx -o link show tx0 up 2>/dev/null | grep -q tx0
}

up() {
  [[ $queues =~ ^[1-9][0-9]*$ ]] || { echo "lab: QUEUES=$queues is not a number of queues" >&2; exit 2; }
  if complete; then
    return
  fi
  down
  ip netns add "$gateway"
  ip netns add "$sender"
  gw link set lo up
  tx link set lo up
  gw link add gw0 mtu 1500 numtxqueues "$queues" numrxqueues "$queues" type veth \
    peer name tx0 netns "$sender" mtu 1500 numtxqueues "$queues" numrxqueues "$queues"
  gw addr add 10.88.0.1/24 dev gw0
  tx addr add 10.88.0.2/24 dev tx0
  # Without duplicate address detection an IPv6 address is usable at once.
  gw addr add fd00:88::1/64 dev gw0 nodad
  tx addr add fd00:88::2/64 dev tx0 nodad
  gw link set gw0 up
  tx link set tx0 up
}

# Deleting the namespaces takes the pair along; one that is not there is no error.
down() {
  local name
  for name in "$gateway" "$sender"; do
    if exists "$name"; then ip netns delete "$name"; fi
  done
}

status() {
  if ! complete; then
    echo "lab: down (or not with $queues queues)"
    return 1
  fi
  echo "lab: up, $queues queues"
  gw -br addr show
  tx -br addr show
}

[ "$(id -u)" = 0 ] || { echo "lab: network namespaces need root" >&2; exit 77; }
case ${1:-} in
  up | down | status) "$1" ;;
  *) echo "usage: [QUEUES=2] scripts/lab.sh up|down|status" >&2; exit 2 ;;
esac
