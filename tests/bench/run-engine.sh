#!/bin/bash
# The engine beside the peers that are installed: builds bench_engine against the built library, runs it, and gives its rows
# to report.py, which appends them to benchmark_results/engine.csv with a verdict each. Arguments go to bench_engine
# (-n KEYS, -v BYTES, -r ROUNDS, -t THREADS, -z for compression, -w WORKLOAD,...). The exit status is report.py's: 1 when a row FAILED.
#
#     WOMBAT_MEMORY_LIMIT=256M tests/bench/run-engine.sh -v 1000      within a memory cgroup (root, cgroup v2)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=${WOMBAT_SOURCE:-$here/../..}
build_dir=${WOMBAT_BUILD:-$source_dir}
results=${WOMBAT_RESULTS:-benchmark_results}
work=$(mktemp -d "${TMPDIR:-/tmp}/wombat-bench.XXXXXX")
group=
cleanup() {
	rm -rf "$work"
	[ -z "$group" ] || rmdir "$group" 2>/dev/null || true
}
trap cleanup EXIT
sources=("$here"/{bench_engine,engine_wombat,numbers,workload}.c)
flags=()
for peer in leveldb rocksdb lmdb wiredtiger; do
	case $peer in leveldb | rocksdb) header=$peer/c.h ;; *) header=$peer.h ;; esac
	if echo "#include <$header>" | ${CC:-cc} -E -x c - >/dev/null 2>&1; then
		flags+=("-DHAVE_${peer^^}" "-l$peer")
		sources+=("$here/engine_$peer.c")
	else
		echo "run-engine.sh: $peer is not installed; contrib/install-deps --bench does that." >&2
	fi
done
read -r -a deflate < <(sed -n 's/^ZLIB_LIBS = //p' "$build_dir/Makefile")
${CC:-cc} -std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -I"$source_dir" -o "$work/bench_engine" "${sources[@]}" \
	"$build_dir/engine/.libs/libwombat.a" "${flags[@]}" "${deflate[@]}" -lm -lpthread
settings=none
if [ -n "${WOMBAT_MEMORY_LIMIT:-}" ]; then
	group=/sys/fs/cgroup/wombat-bench.$$
	mkdir "$group"
	echo "$WOMBAT_MEMORY_LIMIT" >"$group/memory.max"
	settings=memory=$WOMBAT_MEMORY_LIMIT
fi
mkdir -p "$results"
(
	[ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
	exec "$work/bench_engine" "$@" "$work"
) >"$work/rows.csv"
version=$(git -C "$source_dir" describe --always --dirty 2>/dev/null || sed -n 's/^AC_INIT(\[wombat\], \[\(.*\)\])$/\1/p' "$source_dir/configure.ac")
python3 "$here/report.py" --subject wombat --version "$version" --settings "$settings" --results "$results" engine "$work/rows.csv"
