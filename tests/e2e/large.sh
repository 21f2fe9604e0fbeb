#!/bin/bash
# Large files: contents at any place, and changes of anything but the contents that write none of them again.
. "$(dirname "$0")/lib.sh"

# Bytes that the value log was given since the mount.
written() { jq .value_log.bytes_total "$mnt/.wombat/stats"; }

mount_db
cd "$mnt"
head -c 50000000 /dev/urandom >"$dir/one"
head -c 40000003 /dev/urandom >"$dir/two"
cp "$dir/one" one
cp "$dir/two" two
cmp "$dir/one" one && cmp "$dir/two" two
before=$(written)
[ "$before" -gt 90000000 ] && [ "$before" -lt 91000000 ] || fail "$before bytes were written for 90000003"

chmod 600 one
touch -d 2001-02-03 one
chown 12:34 one
mv one three
mkdir dir
mv three dir/one
mv two dir
python3 - dir/one dir/two <<'P'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2) != 0: # RENAME_EXCHANGE
    raise OSError(ctypes.get_errno(), "renameat2")
P
same "bytes written for attributes and names" "$(written)" "$before"
cmp "$dir/one" dir/two && cmp "$dir/two" dir/one
same "attributes" "$(stat -c '%a %u:%g %Y' dir/two)" "600 12:34 $(date -d 2001-02-03 +%s)"

for at in 0 1 32767 32768 32769 1000000 39999999; do
	cmp <(tail -c +$((at + 1)) "$dir/two" | head -c 70000) <(tail -c +$((at + 1)) dir/one | head -c 70000) ||
		fail "read at $at"
done
exec 5<dir/one
rm dir/one
cmp "$dir/two" /dev/fd/5 || fail "a removed file that is open"
exec 5<&-

printf 'changed' | dd of=dir/two bs=1 seek=33000000 conv=notrunc status=none
printf 'changed' | dd of="$dir/one" bs=1 seek=33000000 conv=notrunc status=none
cmp "$dir/one" dir/two
truncate -s 20000000 dir/two "$dir/one"
cmp "$dir/one" dir/two
remount_db
cmp "$dir/one" "$mnt/dir/two"
same "what is left" "$(ls "$mnt/dir")" two
unmount_db
"$wombat" check "$db" >/dev/null || fail "check"
