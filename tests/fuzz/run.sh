#!/bin/bash
# Builds the fuzzers with clang's libFuzzer and its sanitizers, and runs each for FUZZ_SECONDS (60). What fails is kept in
# the directory FUZZ_RESULTS (fuzz_results); an input that was mended belongs to tests/fuzz/corpus/NAME.
#
#     FUZZ_SECONDS=3600 tests/fuzz/run.sh [NAME...]         needs a configured build (WOMBAT_BUILD)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=${WOMBAT_SOURCE:-$here/../..}
build_dir=${WOMBAT_BUILD:-$source_dir}
results=${FUZZ_RESULTS:-fuzz_results}
seconds=${FUZZ_SECONDS:-60}
command -v clang >/dev/null || { echo "fuzz: clang is missing; contrib/install-deps --test installs it." >&2; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/wombat-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n > 9; }' |
	clang -fsanitize=fuzzer -x c -o "$work/try" - 2>/dev/null; then
	echo "fuzz: this clang has no libFuzzer." >&2
	exit 77
fi
flags=(-std=gnu11 -D_GNU_SOURCE -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -I"$source_dir")
mapfile -t defines < <(sed -n 's/^WOMBAT_CPPFLAGS = //p' "$build_dir/Makefile" | tr ' ' '\n' | grep HAVE_ || true)
read -r -a deflate < <(sed -n 's/^ZLIB_LIBS = //p' "$build_dir/Makefile")
read -r -a fuse < <(sed -n 's/^FUSE_CFLAGS = //p' "$build_dir/Makefile")
export source_dir work
objects() { # compiles what is given, with coverage
	printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c \
		'clang '"$(printf '%q ' "${flags[@]}" ${defines[@]+"${defines[@]}"} "${fuse[@]}")"' -fsanitize=fuzzer-no-link -c "$1" -o "$work/$(echo "${1#"$source_dir"/}" | tr / _).o"' _ {}
}
objects "$source_dir"/engine/{base,env,cache,iter,mem,wal,table,vlog,version,compact,db}/*.c "$source_dir"/engine/tool/text.c "$source_dir"/fs/{attr,keypath}.c \
	"$source_dir/tests/fuzz/seeds.c"
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(decoders table database dump paths)
failed=0
for name in "${names[@]}"; do
	clang "${flags[@]}" ${defines[@]+"${defines[@]}"} "${fuse[@]}" -fsanitize=fuzzer -o "$work/fuzz_$name" "$source_dir/tests/fuzz/fuzz_$name.c" \
		"$work"/engine_*.o "$work"/fs_*.o "$work"/tests_*.o "${deflate[@]}" -lm -lpthread
	mkdir -p "$results/$name" "$work/seeds/$name"
	"$build_dir/tests/fuzz/fuzz_$name" --seeds "$work/seeds/$name"
	corpus=("$results/$name" "$work/seeds/$name")
	[ ! -d "$here/corpus/$name" ] || corpus+=("$here/corpus/$name")
	echo "== fuzz_$name, $seconds s"
	"$work/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
		${FUZZ_SEED:+-seed=$FUZZ_SEED} -artifact_prefix="$results/$name-" "${corpus[@]}" 2>"$work/$name.log" ||
		{ failed=1; tail -n 40 "$work/$name.log" >&2; }
	grep -E 'number_of_executed_units|new_units_added' "$work/$name.log" || true
done
exit "$failed"
