#!/bin/bash
# dbench's file server load, bonnie++, and the stressors of stress-ng's class "filesystem" with their own verification: each
# stressor ends as it does on the machine's own file system.
. "$(dirname "$0")/lib.sh"
need dbench bonnie++ stress-ng
mount_db -o allow_other,default_permissions
mkdir "$dir/plain"

dbench -D "$mnt" -t "$(choose 3 30)" -c /usr/share/dbench/client.txt 4 >"$dir/out" 2>&1 || { tail -20 "$dir/out" >&2; fail dbench; }
grep -q '^Throughput' "$dir/out" || fail "dbench reports nothing"
grep '^Throughput' "$dir/out"
if grep -E '^\[[0-9]+\]|ERROR' "$dir/out"; then fail "dbench met errors"; fi # a line of the load that ended otherwise than it should

files=$(choose 1 16)
bonnie++ -q -f -u "$(id -u)" -d "$mnt" -s "$(choose 64M 512M)" -r 32M -n "$files" -D >"$dir/out" 2>"$dir/err" ||
	bonnie++ -q -f -u "$(id -u)" -d "$mnt" -s "$(choose 64M 512M)" -r 32M -n "$files" >"$dir/out" 2>"$dir/err" ||
	{ cat "$dir/out" "$dir/err" >&2; fail bonnie++; }
echo "bonnie++: done"

# Of the class, those that use files of the directory they run in. A stressor's status: 0 passed, 2 failed, 4 not possible here.
stressors=(access chdir chmod chown copy-file dentry dir dirdeep dirmany dup eventfd fallocate fcntl fiemap filename flock fpunch fsize
	fstat getdent handle hdd inode-flags inotify io iomix lease link locka lockf lockofd mknod open rename symlink sync-file touch utime xattr)
quick && stressors=(access chmod copy-file dentry dir fallocate fcntl filename getdent lockf mknod rename symlink utime xattr)
seconds=$(choose 1 10)
# Where ours is not as the machine's file system is: a reason each. All others must match.
passed=0
for stressor in "${stressors[@]}"; do
	outcome() { # DIRECTORY
		local status=0
		(cd "$1" && timeout -s KILL 120 stress-ng --"$stressor" 2 --verify -t "$seconds" --temp-path "$1" >"$dir/out" 2>&1) || status=$?
		rm -rf "$1"/tmp-stress-ng-*
		echo "$status"
	}
	plain=$(outcome "$dir/plain")
	ours=$(outcome "$mnt")
	if [ "$ours" -eq "$plain" ] || [ "$ours" -eq 0 ]; then
		passed=$((passed + 1))
	else
		echo "stress-ng --$stressor: $ours, on the machine's file system $plain: $(grep -m 3 -E 'fail|error' "$dir/out" || tail -3 "$dir/out")"
		worse+=" $stressor"
	fi
done
echo "stress-ng: $passed of ${#stressors[@]} as on the machine's file system"
[ -z "${worse:-}" ] || fail "stress-ng:$worse"
sound
