# Shared by the scripts of this directory: a fresh directory that goes away, and what is expected of commands.
#
#     bash tests/tool/records.sh             finds the build in $WOMBAT_BUILD, or the source tree
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_dir=${WOMBAT_SOURCE:-$here/../..}
build_dir=${WOMBAT_BUILD:-$source_dir}
wombat=${WOMBAT:-$build_dir/engine/tool/wombat}

dir=$(mktemp -d "${TMPDIR:-/tmp}/wombat-tool.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
	echo "FAIL at line ${BASH_LINENO[1]}: $*" >&2
	exit 1
}

# Whether the build has a sanitizer, which has memory of its own.
sanitized() { nm "$build_dir/engine/.libs/libwombat.a" 2>/dev/null | grep -E '__(asan|tsan)_init' >/dev/null; }

# same WHAT GOT WANTED
same() {
	if [ "$2" != "$3" ]; then
		echo "--- wanted"
		printf '%s\n' "$3"
		echo "--- got"
		printf '%s\n' "$2"
		fail "$1"
	fi
}

# code N COMMAND...: exits with N; when N is not 0, says why in one sentence on standard error.
code() {
	local wanted=$1 got=0
	shift
	"$@" >out 2>err || got=$?
	if [ "$got" -ne "$wanted" ]; then
		cat out err >&2
		fail "$* exited with $got, not $wanted"
	fi
	if [ "$wanted" -ne 0 ]; then
		[ "$(wc -l <err)" -eq 1 ] || fail "$* wrote to standard error: $(cat err)"
		grep -q '^wombat: .' err || fail "$* did not say who complains: $(cat err)"
	elif [ -s err ]; then
		fail "$* succeeded and complained: $(cat err)"
	fi
}

# says TEXT: the last complaint of code() holds it.
says() {
	grep -qF -- "$1" err || fail "\"$1\" is not in: $(cat err)"
}
