#!/bin/bash
# Python's own tests of files, with their temporary directory on the mount: what passes on the machine's file system
# passes here.
. "$(dirname "$0")/lib.sh"
python=
for p in python3 /usr/bin/python3; do
	if command -v "$p" >/dev/null && "$p" -c 'import test.test_shutil' 2>/dev/null; then python=$p; break; fi
done
[ -n "$python" ] || skip "no python3 with its tests (libpython3-testsuite)"
mount_db
mkdir "$dir/plain" "$mnt/tmp"
modules="test_os test_shutil test_tempfile test_zipfile test_mmap"
outcomes() { # DIRECTORY: a line a test, its outcome last
	cd "$1"
	TMPDIR=$1 timeout 900 "$python" -W ignore -m unittest -v $(printf 'test.%s ' $modules) 2>&1 </dev/null |
		grep -E '^test[A-Za-z0-9_]* \(.* \.\.\. ' | sed -E 's/ \.\.\. .*(ok|FAIL|ERROR|skipped|expected failure).*/ \1/' | sort -u
	cd /
}
outcomes "$dir/plain" >"$dir/plain.txt"
outcomes "$mnt/tmp" >"$dir/mount.txt"
[ "$(wc -l <"$dir/plain.txt")" -gt 500 ] || fail "only $(wc -l <"$dir/plain.txt") tests ran"
grep -E ' (FAIL|ERROR)$' "$dir/mount.txt" >"$dir/bad" || true
comm -23 "$dir/bad" <(grep -E ' (FAIL|ERROR)$' "$dir/plain.txt" || true) >"$dir/worse" || true
echo "$(wc -l <"$dir/mount.txt") tests, $(grep -c ' ok$' "$dir/mount.txt") passed"
[ ! -s "$dir/worse" ] || fail "worse than on the machine's file system: $(cat "$dir/worse")"
rm -rf "$mnt/tmp"
unmount_db
