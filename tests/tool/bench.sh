#!/bin/bash
# The benchmark's history and verdicts, with rows made up; and every workload once, with few keys.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || exit 77
report=$source_dir/tests/bench/report.py

# rows RATE_OF_WOMBAT RATE_OF_PEER
rows() {
	echo "engine,workload,keys,value_bytes,threads,rounds,median_per_s,min_per_s,max_per_s,p50_ns"
	echo "wombat,fillseq,1000,100,1,3,$1,$(($1 / 2)),$(($1 * 2)),10"
	[ -z "${2:-}" ] || echo "peer,fillseq,1000,100,1,3,$2,$2,$2,10"
}
verdict() { tail -n 2 "$1/engine.csv" | sed -n 's/.*,wombat,.*,\([A-Z]*\)$/\1/p' | tail -n 1; }
run() { # DIR RATE [PEER]
	rows "$2" "${3:-}" >rows.csv
	python3 "$report" --results "$1" --version v engine rows.csv >out 2>&1
}

# Alone: three runs are a history; a third less than its median fails, a little less does not.
for rate in 1000 1100 900; do run alone "$rate" || fail "there is no history yet: $(cat out)"; done
run alone 800 || fail "within the tolerance: $(cat out)"
same "verdict" "$(verdict alone)" OK
if run alone 500; then fail "half as fast as ever, and OK"; fi
same "verdict" "$(verdict alone)" FAILED
grep -q '^FAILED: fillseq' out || fail "the failure is not told: $(cat out)"
rows 1000 >rows.csv
python3 "$report" --results alone --version v --settings other engine rows.csv >/dev/null || fail "other settings are another history"
same "rows" "$(wc -l <alone/engine.csv)" 7

# Beside a peer: a slow machine is no regression, falling behind is one.
for n in 1 2 3; do run beside 1000 500; done
run beside 500 250 || fail "both are half as fast: $(cat out)"
if run beside 1000 1000; then fail "no faster than the peer any more, and OK"; fi
same "ratio" "$(tail -n 2 beside/engine.csv | head -n 1 | cut -d , -f 15)" 1.000
grep -q '<svg' beside/engine.html || fail "there are no plots"
for plot in beside/engine/*.svg; do
	python3 -c "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])" "$plot" || fail "$plot is not XML"
done
# A history of other columns is put aside, not mixed in.
sed -i '1s/p50_ns/other/' beside/engine.csv
run beside 1 1 || fail "rows of another kind were compared"
[ -n "$(find beside -name 'engine.csv.before-*')" ] || fail "the old history is gone"

# Every workload, on this build alone.
[ -e "$build_dir/engine/.libs/libwombat.a" ] || exit 0
if nm "$build_dir/engine/.libs/libwombat.a" 2>/dev/null | grep -E '__(asan|tsan)_init' >/dev/null; then exit 0; fi
WOMBAT_RESULTS=smoke bash "$source_dir/tests/bench/run-engine.sh" -n 600 -r 1 -t 2 -e wombat >out 2>err ||
	fail "the benchmark failed: $(cat out err)"
workloads=$(sed -n 's/^\t{ "\([a-z]*\)", STATE_.*/\1/p' "$source_dir/tests/bench/workload.c" | sort)
same "workloads" "$(cut -d , -f 5 smoke/engine.csv | sed 1d | sort)" "$workloads"
[ "$(echo "$workloads" | wc -l)" -ge 19 ] || fail "there are only $(echo "$workloads" | wc -l) workloads"
awk -F, 'NR > 1 && $10 <= 0 { exit 1 }' smoke/engine.csv || fail "a workload did nothing: $(cat smoke/engine.csv)"
