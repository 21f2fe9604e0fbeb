#!/bin/bash
# Some seconds of the soak: mixed work, kills, everything checked.
. "$(dirname "$0")/lib.sh"
soak=$build_dir/tests/soak/soak
[ -x "$soak" ] || exit 77
"$soak" -s "${SOAK_SECONDS:-6}" -t 3 -k 400 "$dir/soak" >out 2>err || fail "$(cat out err)"
grep -q '^held: ' out || fail "$(cat out)"
for what in puts "large puts" deletes batches transactions gets scans snapshots; do
	[ "$(sed -n "s/^  $what  *\([0-9]*\) .*/\1/p" out)" -gt 0 ] || fail "no $what were made: $(cat out)"
done
