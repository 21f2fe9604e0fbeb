#!/bin/bash
# changes and accesslog as people follow them: with tail -f, jq, and again from where they stopped.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
mount_db
c=$mnt/.wombat
followers=()
before_cleanup() { [ ${#followers[@]} -eq 0 ] || kill "${followers[@]}" 2>/dev/null || true; }
# await FILE TEXT: until a line of it has the text.
await() {
	for try in $(seq 100); do
		grep -qF -- "$2" "$1" && return
		sleep 0.1
	done
	fail "nobody told of $2: $(tail -n 5 "$1")"
}

# ---- changes
echo before >"$mnt/early"
tail -n +1 -f "$c/changes" >"$dir/changes" 2>"$dir/changes.err" &
followers+=($!)
await "$dir/changes" '"key":"early"'
mkdir "$mnt/d"
echo text >"$mnt/d/file"
ln -s file "$mnt/d/link"
chmod 600 "$mnt/d/file"
mv "$mnt/d" "$mnt/e"
rm "$mnt/e/file"
printf x >"$mnt/"$'no text \xff'
await "$dir/changes" '"key_hex":'
head -c 300000 /dev/zero >"$mnt/late"
await "$dir/changes" '"key":"late"'
same "all of it is JSON" "$(jq -s 'length > 8' "$dir/changes")" true
same "the first line" "$(head -n 1 "$dir/changes" | jq -c 'keys')" '["after"]'
same "numbers ascend" "$(jq -s '[.[].seq // 0] | . == sort' "$dir/changes")" true
for line in '"put","key":"d/file"' '"move","key":"d/","to":"e/"' '"delete","key":"e/file"' '"put","directory":"d/"'; do
	grep -qF "$line" "$dir/changes" || fail "no $line in $(cat "$dir/changes")"
done
[ ! -s "$dir/changes.err" ] || fail "tail complained: $(cat "$dir/changes.err")"
# What will expire says so, and when; nothing more is told when it does.
echo brief >"$mnt/brief"
setfattr -n user.wombat.ttl -v 100 "$mnt/brief"
await "$dir/changes" '"expires":'
same "when it goes" "$(jq -c 'select(.expires) | [.key, (.expires - now | . > 80 and . <= 100)]' "$dir/changes")" '["brief",true]'
rm "$mnt/brief"
await "$dir/changes" '"delete","key":"brief"'
# Who comes again reads what is kept, leaves out what it saw, and knows whether it missed anything.
seen=$(jq -s 'map(.seq // 0) | max' "$dir/changes")
echo again >"$mnt/after"
cat "$c/changes" >"$dir/again"
same "what is new" "$(jq -c "select((.seq // 0) > $seen) | [.kind, .key] | select(.[1] != null)" "$dir/again" | sort -u)" '["put","after"]'
[ "$(head -n 1 "$dir/again" | jq .after)" -le "$seen" ] || fail "the beginning is beyond what was seen"

# A transaction tells of its changes when they come about, all under one number.
mkdir "$c/txn/both"
echo 1 >"$c/txn/both/one" && echo 2 >"$c/txn/both/two"
echo before >"$mnt/before-both"
await "$dir/changes" '"key":"before-both"'
grep -q '"key":"one"' "$dir/changes" && fail "a change that nobody has made yet"
mv "$c/txn/both" "$c/commit/"
await "$dir/changes" '"key":"two"'
same "one number" "$(jq -s 'map(select(.key == "one" or .key == "two") | .seq) | unique | length' "$dir/changes")" 1

# ---- accesslog
same "nobody reads, nothing is noted" "$(stat -c %s "$c/accesslog")" 0
tail -f "$c/accesslog" >"$dir/accesses" &
followers+=($!)
# Until tail has opened it; a name that is not there is asked for once.
for try in $(seq 100); do
	[ ! -e "$mnt/none$try" ] || fail "none$try is there"
	sleep 0.1
	grep -q lookup "$dir/accesses" && break
done
await "$dir/accesses" '"op":"lookup","path":"none'
mkdir "$mnt/made"
echo text >"$mnt/made/file"
await "$dir/accesses" "\"op\":\"$(commits_by_write && echo mknod || echo create)\",\"path\":\"made/file\""
commits_by_write || await "$dir/accesses" '"op":"release","path":"made/file"'
mv "$mnt/made/file" "$mnt/moved"
await "$dir/accesses" '"op":"rename","path":"made/file","to":"moved"'
same "it is JSON" "$(jq -s 'length > 5 and all(.ns > 0 and .time > 1700000000)' "$dir/accesses")" true
same "with errors" "$(jq -r 'select(.path | startswith("none")?) | .error' "$dir/accesses" | sort -u)" ENOENT
same "and ranges" "$(jq -c 'select(.op == "write" and .path == "made/file") | [.offset, .size]' "$dir/accesses")" "[0,5]"
same "nothing of the control directory" "$(grep -c wombat "$dir/accesses")" 0
mkdir "$c/txn/watched"
cat "$c/txn/watched/early" >/dev/null
await "$dir/accesses" '"path":".wombat/txn/watched/early"'
rmdir "$c/txn/watched"
kill "${followers[@]}"
wait "${followers[@]}" 2>/dev/null || true
followers=()
echo unseen >"$mnt/unseen"
same "a new reader begins where it came" "$(timeout 10 cat "$c/accesslog" | grep -c unseen)" 0

if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	unmount_db
	chmod 755 "$dir"
	mount_db -o allow_other,no_default_permissions
	setpriv --reuid=65534 --clear-groups cat "$c/changes" 2>/dev/null && fail "another user reads changes"
	# Without opens what has no size is not even asked for.
	commits_by_write || ! setpriv --reuid=65534 --clear-groups cat "$c/accesslog" 2>/dev/null || fail "another user reads accesslog"
fi
unmount_db
