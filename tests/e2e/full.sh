#!/bin/bash
# A full disk: writers are told, readers go on, nothing that was acknowledged is lost, and room makes it work again.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || skip "needs root to mount a small tmpfs"
mkdir "$dir/small"
mount -t tmpfs -o size=48M tmpfs "$dir/small" || skip "no tmpfs here"
trap 'umount -l "$dir/small" 2>/dev/null; cleanup' EXIT
db=$dir/small/db
mount_db -o wal_file_size=1M,mem_table_size=2M,max_table_size=2M
full=0
for i in $(seq 400); do
	head -c 200000 /dev/urandom >"$dir/piece"
	if ! cp "$dir/piece" "$mnt/f$i" 2>"$dir/err"; then
		grep -qE 'No space left|Read-only|Input/output' "$dir/err" || fail "failed otherwise: $(cat "$dir/err")"
		full=$i
		break
	fi
	md5sum <"$dir/piece" >"$dir/sum.$i"
done
[ "$full" -gt 10 ] || fail "the disk did not fill ($full)"
verify() { for i in $(seq $((full - 1))); do same "f$i" "$(md5sum <"$mnt/f$i")" "$(cat "$dir/sum.$i")"; done; }
verify
rm -f "$mnt/f$full" 2>/dev/null || true
fusermount3 -u "$mnt"
wait "$daemon_pid" || true
daemon_pid=
mount -o remount,size=160M "$dir/small"
mount_db -o wal_file_size=1M,mem_table_size=2M,max_table_size=2M
verify
echo works >"$mnt/again"
same "after there is room" "$(cat "$mnt/again")" works
unmount_db
same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
