#!/bin/bash
# What operations cost, counted, so that the machine's noise is not in it: allocations, system calls (all, and syncs), bytes
# written for each byte put, and instructions. An operation is run COUNT times on a database of 100,000 keys of 16+100 bytes
# whose blocks are in the cache, and the same without the operations is taken off.
#
#     WOMBAT_BUILD=build tests/bench/costs.sh [OPERATION...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=${WOMBAT_SOURCE:-$here/../..}
build_dir=${WOMBAT_BUILD:-$source_dir}
costs=${WOMBAT_COSTS:-$build_dir/tests/bench/costs}
work=$(mktemp -d "${TMPDIR:-/tmp}/wombat-costs.XXXXXX")
trap 'rm -rf "$work"' EXIT

have() { command -v "$1" >/dev/null; }
count_of() { # durable ones wait for the disk, large ones take space
	case $1 in
	*large*) echo 400 ;;
	*durable*) echo 2000 ;;
	*) echo 200000 ;;
	esac
}
# Calls under strace, of all threads: "CALLS SYNCS".
calls() {
	rm -rf "$work/db"
	strace -f -c -U name,calls -o "$work/trace" "$costs" "$work/db" "$1" "$2" >/dev/null
	awk '$1 == "total" { all = $2 } $1 == "fdatasync" || $1 == "fsync" { syncs += $2 } END { print all, syncs + 0 }' "$work/trace"
}
# Instructions of the calling thread in the library's function.
instructions() {
	rm -rf "$work/db"
	valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect="$2" "$costs" "$work/db" "$1" "$3" 2>&1 >/dev/null |
		sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
function_of() {
	case $1 in
	put | put_in_order | put_large) echo wombat_put ;;
	put_durable | put_large_durable) echo wombat_write ;;
	get | get_missing) echo wombat_get ;;
	esac
}

[ $# -gt 0 ] || mapfile -t operations < <("$costs" 2>/dev/null || true)
[ $# -eq 0 ] || operations=("$@")
printf '%-22s %9s %12s %12s %9s %14s %13s\n' operation count allocations syscalls syncs bytes/byte instructions
for op in "${operations[@]}"; do
	n=$(count_of "$op")
	rm -rf "$work/db"
	"$costs" "$work/db" "$op" "$n" >"$work/own"
	own() { sed -n "s/^$1 //p" "$work/own"; }
	syscalls=- syncs=- instructions=-
	if have strace; then
		read -r base base_syncs < <(calls "$op" 0)
		read -r all all_syncs < <(calls "$op" "$n")
		syscalls=$(awk "BEGIN { printf \"%.3f\", ($all - $base) / $n }")
		syncs=$(awk "BEGIN { printf \"%.3f\", ($all_syncs - $base_syncs) / $n }")
	fi
	function=$(function_of "$op")
	if have valgrind && [ -n "$function" ]; then
		few=$((n < 4000 ? 100 : 4000))
		# What makes the database calls wombat_get too: the same without operations is taken off.
		total=$(instructions "$op" "$function" $few)
		none=$(instructions "$op" "$function" 0)
		instructions=$(awk "BEGIN { printf \"%.0f\", ($total - $none) / ($few + 1) }")
	fi
	printf '%-22s %9s %12s %12s %9s %14s %13s\n' "$op" "$n" "$(awk "BEGIN { printf \"%.3f\", $(own allocations) / $n }")" \
		"$syscalls" "$syncs" "$(awk "BEGIN { u = $(own user_bytes); if (u > 0) printf \"%.2f\", $(own written_bytes) / u; else print \"-\" }")" \
		"$instructions"
done
