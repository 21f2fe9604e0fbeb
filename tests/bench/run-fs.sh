#!/bin/bash
# The mount beside the machine's own file system, and beside whatever else WOMBAT_BENCH_ALSO names ("floor=/mnt/floor ...").
# Arguments go to bench_files (-n FILES, -r ROUNDS). Rows are appended to benchmark_results/fs.csv.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=${WOMBAT_SOURCE:-$here/../..}
build_dir=${WOMBAT_BUILD:-$source_dir}
wombatfs=${WOMBATFS:-$build_dir/fs/wombatfs}
results=${WOMBAT_RESULTS:-benchmark_results}
[ -c /dev/fuse ] || { echo "run-fs.sh: there is no /dev/fuse." >&2; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/wombat-bench.XXXXXX")
cleanup() {
	while grep -q " $work/mnt " /proc/mounts; do fusermount3 -u "$work/mnt" 2>/dev/null || fusermount3 -uz "$work/mnt"; done
	sleep 0.5
	rm -rf "$work"
}
trap cleanup EXIT
${CC:-cc} -std=gnu11 -O2 -D_GNU_SOURCE -o "$work/bench_files" "$here/bench_files.c"
mkdir "$work/mnt" "$work/plain"
"$wombatfs" "$work/db" "$work/mnt"
mkdir -p "$results"
# shellcheck disable=SC2086
"$work/bench_files" "$@" "wombat=$work/mnt" "plain=$work/plain" ${WOMBAT_BENCH_ALSO:-} >"$work/rows.csv"
when=$(date -u +%Y-%m-%dT%H:%M:%SZ)
[ -s "$results/fs.csv" ] || sed -n "1s/^/time,/p" "$work/rows.csv" >"$results/fs.csv"
sed -n "2,\$s/^/$when,/p" "$work/rows.csv" >>"$results/fs.csv"
awk -F, 'NR > 1 { rate[$2, $1] = $5; spread[$2, $1] = $5 ? ($7 - $6) / $5 * 50 : 0
		  if (!($2 in seen)) { seen[$2] = 1; w[++n] = $2 } if (!($1 in known)) { known[$1] = 1; e[++m] = $1 } }
	END { printf "%-13s", "median/s"; for (j = 1; j <= m; j++) printf "%20s", e[j]; print ""
	      for (i = 1; i <= n; i++) { printf "%-13s", w[i]
		for (j = 1; j <= m; j++) printf "%13.0f ±%3.0f %%", rate[w[i], e[j]], spread[w[i], e[j]]
		print "" } }' "$work/rows.csv"
