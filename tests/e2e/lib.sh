# Shared by the scripts of this directory: a fresh directory, mounts in it, and a clean-up that happens on any exit.
#
#     WOMBATFS=/path/to/wombatfs bash tests/e2e/tree.sh       or with WOMBAT_BUILD, or in a built source tree
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_dir=$(cd "${WOMBAT_SOURCE:-$here/../..}" && pwd)
build_dir=${WOMBAT_BUILD:-$source_dir}
wombat=${WOMBAT:-$build_dir/engine/tool/wombat}
wombatfs=${WOMBATFS:-$build_dir/fs/wombatfs}

skip() {
	echo "skipped: $*"
	exit 77
}
[ -c /dev/fuse ] || skip "there is no /dev/fuse"
command -v fusermount3 >/dev/null || skip "there is no fusermount3"

dir=$(mktemp -d "${TMPDIR:-/tmp}/wombat-e2e.XXXXXX")
mnt=$dir/mnt
db=$dir/db
mkdir "$mnt"
daemon_pid=

before_cleanup() { :; } # for scripts that have servers to stop before the mount goes
cleanup() {
	local status=$?
	trap - EXIT
	set +e
	cd /
	before_cleanup
	while mountpoint -q "$mnt" || grep -q " $mnt " /proc/mounts; do
		fusermount3 -u "$mnt" 2>/dev/null || fusermount3 -uz "$mnt" || break
	done
	if [ -n "$daemon_pid" ]; then
		for _ in $(seq 100); do
			kill -0 "$daemon_pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$daemon_pid" 2>/dev/null || true
	fi
	[ "$status" -eq 0 ] || [ ! -s "$dir/log" ] || sed 's/^/daemon: /' "$dir/log" >&2
	rm -rf "$dir"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
	echo "FAIL (line ${BASH_LINENO[0]}): $*" >&2
	exit 1
}

# same WHAT GOT WANTED
same() {
	[ "$2" = "$3" ] || { printf -- '--- wanted\n%s\n--- got\n%s\n' "$3" "$2"; fail "$1"; }
}

# mount_db [ARGUMENT...]: serves $db on $mnt. The daemon stays in the foreground of a background job, so that its
# process is known and what it says is kept. WOMBAT_E2E_OPTIONS are options of all mounts of a run.
mount_db() {
	"$wombatfs" -f "$db" "$mnt" ${WOMBAT_E2E_OPTIONS:+-o "$WOMBAT_E2E_OPTIONS"} "$@" >>"$dir/log" 2>&1 &
	daemon_pid=$!
	for _ in $(seq 200); do
		mountpoint -q "$mnt" && return 0
		kill -0 "$daemon_pid" 2>/dev/null || { cat "$dir/log" >&2; fail "wombatfs ended before the mount was there"; }
		sleep 0.05
	done
	fail "the mount did not come up"
}

commits_by_write() { [[ ${WOMBAT_E2E_OPTIONS:-} == *commit=write* ]]; }

# unmount_db: takes the mount away and waits for the daemon, whose status must be 0.
unmount_db() {
	local status=0
	cd /
	fusermount3 -u "$mnt"
	wait "$daemon_pid" || status=$?
	daemon_pid=
	[ "$status" -eq 0 ] || fail "wombatfs exited with $status"
}

# kill_daemon [PID...]: as a crash of it would; processes that end by that are waited for.
kill_daemon() {
	kill -KILL "$daemon_pid" 2>/dev/null || true
	wait "$daemon_pid" 2>/dev/null || true
	daemon_pid=
	[ $# -eq 0 ] || wait "$@" || true
	fusermount3 -u "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
}

remount_db() {
	unmount_db
	mount_db "$@"
}

# refused ERRNO COMMAND...: fails, and its complaint holds the errno's text.
refused() {
	local text=$1
	shift
	if "$@" 2>"$dir/err"; then
		fail "\"$*\" was not refused"
	fi
	grep -qF -- "$text" "$dir/err" || fail "\"$*\" failed otherwise: $(cat "$dir/err")"
}

# per_op WHAT N LIMIT: what $dir/ops.py does N times below $mnt/d costs at most LIMIT requests each that somebody waits for; the
# question itself and the directory cost a few. Releases and forgets are not waited for.
per_op() {
	local before after
	before=$(jq -c .mount.requests "$mnt/.wombat/stats")
	python3 "$dir/ops.py" "$1" "$mnt/d" "$2"
	after=$(jq -c .mount.requests "$mnt/.wombat/stats")
	jq -n --argjson a "$before" --argjson b "$after" --arg what "$1" --argjson n "$2" --argjson limit "$3" '
		($b | with_entries(.value -= $a[.key]) | with_entries(select(.value > 0))) as $d
		| ($d | del(.release, .releasedir, .forget, .batch_forget) | add // 0) as $sum
		| "\($what): \($sum / $n * 1000 | round / 1000) a piece \($d | tostring)",
		  if $sum > $limit * $n + 20 then error("\($what): \($sum) requests for \($n), over \($limit) each") else empty end' -r
}

requests() { # NAME: how many of these the kernel has sent
	jq ".mount.requests.$1" "$mnt/.wombat/stats"
}
