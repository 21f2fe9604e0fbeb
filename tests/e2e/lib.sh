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

requests() { # NAME: how many of these the kernel has sent
	jq ".mount.requests.$1" "$mnt/.wombat/stats"
}
