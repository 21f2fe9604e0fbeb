#!/bin/bash
# The mount beside the machine's own file system, and beside whatever else WOMBAT_BENCH_ALSO names ("floor=/mnt/floor ...").
# Arguments go to bench_files (-n FILES, -r ROUNDS). Rows go to report.py, which appends them to
# benchmark_results/files.csv with a verdict each; its exit status is this one's.
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
version=$(git -C "$source_dir" describe --always --dirty 2>/dev/null || echo unknown)
python3 "$here/report.py" --subject wombat --version "$version" --results "$results" files "$work/rows.csv"
