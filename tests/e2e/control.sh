#!/bin/bash
# The control directory: stats read with jq, options changed with echo and with a JSON document and seen to act, every kind
# of bad line refused with its errno while nothing changed.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
mount_db
c=$mnt/.wombat
same "hidden" "$(ls -A "$mnt")" ""
[ -d "$c" ] || fail "the control directory is not there by name"
for i in $(seq 50); do echo "$i" >"$mnt/f$i"; done
same "stats" "$(jq -r '.puts_total >= 50 and .schema != null and .uptime >= 0' "$c/stats")" true
[ "$(stat -c %s "$c/version")" -eq "$(wc -c <"$c/version")" ] || fail "st_size is not exact"
tar -C "$c" -cf "$dir/c.tar" version config
grep -q '^wombat_puts_total ' "$c/stats.prom" || fail "stats.prom has no puts"
[ "$(awk '$1 == "puts_total" { print $2 }' "$c/stats.txt")" -ge 50 ] || fail "stats.txt has no puts"
# What config prints it accepts.
cat "$c/config" >"$dir/config"
cat "$dir/config" | head -c 4000 | sed '$d' >"$c/config"
option() { sed -n "s/^$1=//p" "$c/config"; }

echo block_cache_size=64M >"$c/config"
same "by echo" "$(option block_cache_size) $(cat "$c/tune/block_cache_size")" "64M 64M"
echo '{"block_cache_size": "32M", "sync_interval_ms": 500}' >"$c/config.json"
same "by JSON" "$(option block_cache_size) $(jq -r .sync_interval_ms "$c/config.json")" "32M 500"
echo 16M >"$c/tune/block_cache_size"
same "by tune" "$(option block_cache_size)" 16M
# It acts: writes that sync are syncs of the log.
echo sync_writes=true >"$c/config"
syncs=$(jq .wal.syncs_total "$c/stats")
for i in $(seq 20); do echo again >"$mnt/f$i"; done
[ "$(jq .wal.syncs_total "$c/stats")" -ge $((syncs + 20)) ] || fail "sync_writes=true did not sync"
echo sync_writes=false >"$c/config"
# A flush writes a table.
echo flush >"$c/ctl"
[ "$(jq '.flushes_total' "$c/stats")" -ge 1 ] || fail "ctl flush did not flush"
echo compact >"$c/ctl"
same "compacted" "$(jq '.level."0".files' "$c/stats")" 0

# Upkeep: all is read and verified, room comes back, counters begin anew.
echo check >"$c/ctl"
head -c 3000000 /dev/urandom >"$mnt/large"
echo flush >"$c/ctl"
rm "$mnt/large"
echo gc >"$c/ctl"
same "value log after gc" "$(jq .value_log.live_bytes "$c/stats")" 0
echo reset-stats >"$c/ctl"
same "after reset-stats" "$(jq '[.puts_total, .flushes_total, .mount.requests.create] | add' "$c/stats")" 0
echo more >"$mnt/f51"
same "and counts on" "$(jq '.mount.requests | .create + .mknod' "$c/stats")" 1

# The event log.
grep -q 'info flush: ' "$db/LOG" || fail "the log does not tell of the flush: $(cat "$db/LOG")"
echo log_level=warn >"$c/config"
lines=$(wc -l <"$db/LOG")
echo flush >"$c/ctl"
same "lines at level warn" "$(wc -l <"$db/LOG")" "$lines"
echo log_level=info >"$c/config"
grep -q 'option log_level is info' "$db/LOG" || fail "the log does not tell of an option"
# Copies of the mounted database.
echo "checkpoint $dir/point" >"$c/ctl"
same "checkpoint" "$("$wombat" get "$dir/point" f7)" again
echo "backup $dir/backups" >"$c/ctl"
"$wombat" restore "$dir/restored" "$dir/backups"
same "restored" "$("$wombat" get "$dir/restored" f7)" again
refused "Invalid argument" bash -c "echo checkpoint relative >$c/ctl"
grep -q "absolute path" "$c/last_error" || fail "last_error does not ask for an absolute path"
refused "File exists" bash -c "echo checkpoint $dir/point >$c/ctl"

before=$(cat "$c/config")
refused "Invalid argument" bash -c "echo no_such_option=1 >$c/config"
grep -q no_such_option "$c/last_error" || fail "last_error does not say what was wrong: $(cat "$c/last_error")"
refused "Invalid argument" bash -c "echo block_cache_size=lots >$c/config"
refused "Invalid argument" bash -c "echo just words >$c/config"
refused "Numerical result out of range" bash -c "echo bloom_false_positive=0.9 >$c/config"
refused "Operation not permitted" bash -c "echo use_mmap=true >$c/config"
refused "Argument list too long" bash -c "head -c 5000 /dev/zero | tr '\\0' '#' | dd iflag=fullblock of=$c/config bs=8192 status=none"
# One write of two lines, of which the second is bad: neither acts. (A shell would write them one by one.)
printf 'block_cache_size=8M\nno_such_option=1\n' >"$dir/two"
refused "Invalid argument" dd if="$dir/two" of="$c/config" bs=4096 conv=notrunc status=none
refused "Invalid argument" bash -c "echo '{\"block_cache_size\": ' >$c/config.json"
refused "Invalid argument" bash -c "echo '{\"nothing\": 1}' >$c/config.json"
refused "Invalid argument" bash -c "echo explode >$c/ctl"
refused "ermission denied" bash -c "echo x >$c/version" || true
same "nothing changed" "$(cat "$c/config")" "$before"
refused "Operation not permitted" rm "$c/stats"
refused "Operation not permitted" mkdir "$c/new"
unmount_db
mount_db -o ctldir=.ctl
[ -r "$mnt/.ctl/stats" ] && [ ! -e "$mnt/.wombat" ] || fail "ctldir did not rename the control directory"
unmount_db
