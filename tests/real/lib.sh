# Shared by the scripts of this directory: programs that others wrote, on a mount. Each is also run on the machine's own
# file system where its own outcome is the measure.
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

# WOMBAT_REAL=quick makes the runs short.
quick() { [ "${WOMBAT_REAL:-}" = quick ]; }
# choose QUICK LONG
choose() { if quick; then echo "$1"; else echo "$2"; fi; }
need() { # PROGRAM...
	local program
	for program; do
		command -v "$program" >/dev/null || skip "there is no $program; contrib/install-deps --real"
	done
}
# What stands at the end: the database is sound, and so after a remount.
sound() {
	unmount_db
	same "check" "$("$wombat" check "$db" >"$dir/check.txt" 2>&1 && echo sound || cat "$dir/check.txt")" sound
}
