#!/bin/bash
# Test suites that others wrote, from the sources of Debian's packages: libfuse's system calls, gnulib's tests of the functions
# that touch files, and the suites of coreutils, tar, acl and attr. Each is built and run in a directory of the machine's own
# file system and then on a mount: what passes there has to pass here. As root, as some of them give files away.
#
#     WOMBAT_SUITES="libfuse acl" tests/real/suites.sh        these alone; WOMBAT_SUITES_KEEP=DIR keeps the sources there
. "$(dirname "$0")/lib.sh"
need apt-get dpkg-source gcc make perl jq
[ "$(id -u)" -eq 0 ] || skip "the suites are for root"
suites=${WOMBAT_SUITES:-libfuse gnulib acl attr tar coreutils}
sources=${WOMBAT_SUITES_KEEP:-$dir/src}
mkdir -p "$sources"
chmod 755 "$dir"
jobs=$(nproc)

# What passes beside the mount and not on it, with the reason. SUITE TEST
known() {
	case $1:$2 in
	# tail(1) polls on FUSE, as it does on every file system whose name it does not know.
	coreutils:tests/tail-2/inotify-*) ;;
	# No inode flags (chattr).
	coreutils:tests/rm/empty-immutable-skip | coreutils:tests/tail-2/append-only) ;;
	# A key is the whole path, of max_key_size (4096) bytes at most.
	coreutils:tests/du/long-from-unreadable | coreutils:tests/misc/pwd-long) ;;
	# A directory has no size of its own.
	coreutils:tests/du/threshold) ;;
	# The source of the mount is a directory, of which df tells the file system that it is on.
	coreutils:tests/df/df-symlink) ;;
	*) return 1 ;;
	esac
}

# ---- Sources, by lists of our own so that the machine's settings stay as they are ----

fetch() { # PACKAGE
	compgen -G "$sources/$1-*/" >/dev/null && return
	local apt=$dir/apt
	if [ ! -d "$apt" ]; then
		mkdir -p "$apt/parts" "$apt/lists/partial"
		cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -n 's/^deb /deb-src /p' >"$apt/parts/a.list"
		cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed 's/^Types:.*/Types: deb-src/' >"$apt/parts/b.sources"
	fi
	local options=(-qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$apt/parts" -o Dir::State::Lists="$apt/lists"
		-o APT::Sandbox::User=root)
	[ -e "$apt/updated" ] || apt-get "${options[@]}" update || skip "the sources of Debian's packages cannot be had here"
	: >"$apt/updated"
	(cd "$sources" && apt-get "${options[@]}" source "$1" >"$dir/fetch" 2>&1) || { cat "$dir/fetch" >&2; fail "source of $1"; }
}

source_of() { # PACKAGE
	echo "$sources/$1"-*/
}

# quietly COMMAND...: its output is shown if it fails.
quietly() {
	"$@" >"$dir/out" 2>&1 || { tail -n 40 "$dir/out" >&2; fail "$*"; }
}

# What Automake's tests noted below a directory: a line "TEST RESULT" each.
trs_results() {
	find "$1" -name '*.trs' | while read -r file; do
		local test=${file#"$1"/}
		sed -n "s|^:test-result: \([A-Z]*\).*|${test%.trs} \1|p" "$file"
	done
}

# ---- Suites: each is prepared once in $dir/NAME and run in a place; prints "TEST RESULT" lines ----

libfuse_prepare() {
	fetch fuse3
	mkdir -p "$dir/libfuse"
	echo '#define HAVE_COPY_FILE_RANGE 1' >"$dir/libfuse/fuse_config.h"
	quietly gcc -w -D_GNU_SOURCE -I"$dir/libfuse" -o "$dir/libfuse/test_syscalls" "$(source_of fuse3)/test/test_syscalls.c"
}
libfuse_run() { # PLACE
	"$dir/libfuse/test_syscalls" "$1" 2>&1 | sed -nE 's/^ *([0-9]+) \[(.*)\] (OK|.*)$/\1 \2\t\3/p' | awk -F'\t' '
		{ gsub(/[^A-Za-z0-9]+/, "_", $1); if ($2 != "OK") bad[$1] = 1; seen[$1] = 1 }
		END { for (t in seen) print t, bad[t] ? "FAIL" : "PASS" }'
}

gnulib_prepare() {
	fetch gnulib
	need autoconf automake
	local modules
	modules=$(cd "$(source_of gnulib)/modules" && ls | grep -E '^(access|acl|areadlink.*|canonicalize.*|chdir|chmod|chown|copy-file|creat|dirent.*|faccessat|fchdir|fchmod|fchmodat|fchown|fchownat|fcntl|fdatasync|fdopendir|fdutimensat|file-has-acl|flock|fopen|fseeko|fstat|fstatat|fsync|ftello|ftruncate|fts|futimens|getcwd.*|glob|lchmod|lchown|link|linkat|lseek|lstat|mkdir|mkdirat|mkfifo|mkfifoat|mknod|open|openat|pread|pwrite|read-file|readlink|readlinkat|remove|rename|renameat|renameatu|rmdir|stat|stat-time|statat|supersede|symlink|symlinkat|truncate|unlink|unlinkat|utime|utimens|utimensat|write)$')
	# shellcheck disable=SC2086 # names of modules, without blanks
	quietly "$(source_of gnulib)/gnulib-tool" --create-testdir --dir="$dir/gnulib" --without-privileged-tests $modules
}
gnulib_run() {
	cp -a "$dir/gnulib" "$1/gnulib"
	cd "$1/gnulib"
	FORCE_UNSAFE_CONFIGURE=1 ./configure -q --cache-file="$dir/gnulib.cache" >"$dir/out" 2>&1
	make -s -j"$jobs" >"$dir/out" 2>&1
	make -s -k check >"$dir/out" 2>&1 || true
	trs_results "$1/gnulib"
}

# The usual way: configure, make, make check with ARGUMENT...
gnu_run() { # PACKAGE PLACE ARGUMENT...
	local package=$1 place=$2
	shift 2
	cp -a "$(source_of "$package")" "$place/$package"
	cd "$place/$package"
	FORCE_UNSAFE_CONFIGURE=1 ./configure -q --disable-nls --cache-file="$dir/$package.cache" >"$dir/out" 2>&1
	make -s -j"$jobs" >"$dir/out" 2>&1
	make -s -k check "$@" >"$dir/out" 2>&1 || true
	trs_results "$place/$package"
}

acl_prepare() { fetch acl; }
acl_run() { gnu_run acl "$1"; }
attr_prepare() { fetch attr; }
attr_run() { gnu_run attr "$1"; }
coreutils_prepare() { fetch coreutils; }
coreutils_run() { gnu_run coreutils "$1" SUBDIRS=. -j"$jobs" RUN_EXPENSIVE_TESTS="$(choose no yes)"; }

tar_prepare() { fetch tar; }
tar_run() {
	gnu_run tar "$1" TESTSUITEFLAGS=-j"$jobs" >/dev/null
	sed -nE 's/^ *([0-9]+): (.*[^ ]) +(ok|skipped.*|FAILED.*|expected.*)$/\1 \2\t\3/p' "$1/tar/tests/testsuite.log" "$dir/out" | awk -F'\t' '
		{ gsub(/[^A-Za-z0-9]+/, "_", $1); print $1, $2 ~ /^ok|^expected/ ? "PASS" : $2 ~ /^skipped/ ? "SKIP" : "FAIL" }' | sort -u
}

# ---- The comparison ----

plain=$dir/plain
mkdir -m 755 "$plain"
mount_db -o allow_other,default_permissions
bad=0
printf '%-12s %8s %8s %8s %8s   %s\n' suite run passed skipped failed "passed beside it and not here"
for suite in $suites; do
	"${suite}_prepare"
	for place in "$plain" "$mnt"; do
		(set +e; "${suite}_run" "$place") | sort >"$dir/results.$(basename "$place")"
		rm -rf "${place:?}"/*
	done
	[ -s "$dir/results.plain" ] || { tail -n 40 "$dir/out"; fail "$suite ran nothing"; }
	join -j 1 <(sed 's/ /\t/' "$dir/results.plain") <(sed 's/ /\t/' "$dir/results.mnt") -t $'\t' -a 1 -e NONE -o 0,1.2,2.2 >"$dir/both"
	lost=
	while IFS=$'\t' read -r test beside here; do
		[ "$beside" = PASS ] && [ "$here" != PASS ] || continue
		lost+=" $test:$here"
		known "$suite" "$test" || bad=$((bad + 1))
	done <"$dir/both"
	printf '%-12s %8d %8d %8d %8d   %s\n' "$suite" "$(wc -l <"$dir/results.mnt")" "$(grep -c ' PASS$' "$dir/results.mnt")" \
		"$(grep -c ' SKIP$' "$dir/results.mnt")" "$(grep -cE ' (FAIL|ERROR|XPASS)$' "$dir/results.mnt")" "${lost:- none}"
done
[ "$bad" -eq 0 ] || fail "$bad tests pass on the machine's own file system and not on the mount"
sound
