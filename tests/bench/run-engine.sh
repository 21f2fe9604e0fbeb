#!/bin/bash
# The engine beside the peers that are installed: builds bench_engine against the built library, runs it, appends its rows to
# benchmark_results/engine.csv and prints them as a table. Arguments go to bench_engine (-n KEYS, -r ROUNDS, ...).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=${WOMBAT_SOURCE:-$here/../..}
build_dir=${WOMBAT_BUILD:-$source_dir}
results=${WOMBAT_RESULTS:-benchmark_results}
work=$(mktemp -d "${TMPDIR:-/tmp}/wombat-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
flags=()
for peer in leveldb rocksdb lmdb; do
	header=$peer/c.h
	[ "$peer" = lmdb ] && header=lmdb.h
	if echo "#include <$header>" | ${CC:-cc} -E -x c - >/dev/null 2>&1; then
		flags+=("-DHAVE_${peer^^}" "-l$peer")
	else
		echo "run-engine.sh: $peer is not installed; contrib/install-deps --bench does that." >&2
	fi
done
${CC:-cc} -std=gnu11 -O2 -D_GNU_SOURCE -I"$source_dir" -o "$work/bench_engine" "$here/bench_engine.c" \
	"$build_dir/engine/.libs/libwombat.a" "${flags[@]}" -lz -lm -lpthread
mkdir -p "$results"
"$work/bench_engine" "$@" "$work" | tee "$work/rows.csv" >/dev/null
when=$(date -u +%Y-%m-%dT%H:%M:%SZ)
[ -s "$results/engine.csv" ] || sed -n "1s/^/time,/p" "$work/rows.csv" >"$results/engine.csv"
sed -n "2,\$s/^/$when,/p" "$work/rows.csv" >>"$results/engine.csv"
awk -F, 'NR > 1 { rate[$2, $1] = $6; spread[$2, $1] = $6 ? ($8 - $7) / $6 * 100 : 0
		  if (!($2 in seen)) { seen[$2] = 1; w[++n] = $2 } if (!($1 in known)) { known[$1] = 1; e[++m] = $1 } }
	END { printf "%-12s", "median/s"; for (j = 1; j <= m; j++) printf "%20s", e[j]; print ""
	      for (i = 1; i <= n; i++) { printf "%-12s", w[i]
		for (j = 1; j <= m; j++) printf "%13.0f ±%3.0f %%", rate[w[i], e[j]], spread[w[i], e[j]] / 2
		print "" } }' "$work/rows.csv"
