#!/bin/bash
# Keys by their bytes below .wombat/raw: the same files as by path, each way seen by the other at once, with keys that paths
# say by tokens, long ones, and the listing in order.
. "$(dirname "$0")/lib.sh"
hex() { printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }
long=$(printf 'k%.0s' $(seq 300)) # two chunks of 126 bytes and 48 more
chunk=$(hex "$(printf 'k%.0s' $(seq 126))")
"$wombat" put "$db" a/b below
"$wombat" put "$db" a above
"$wombat" put "$db" a//c empty
"$wombat" put "$db" "$long" long
mount_db
raw=$mnt/.wombat/raw
same "list" "$(ls -f "$raw" | grep -v '^\.*$')" "$(printf '%s\n' "$(hex a)" "$(hex a//c)" "$(hex a/b)" "$chunk%+")"
same "chunks" "$(find "$raw/$chunk%+" -type f -printf '%P\n')" "$chunk%+/$(hex "$(printf 'k%.0s' $(seq 48))")"
same "below" "$(cat "$raw/$(hex a/b)")" below
same "above" "$(cat "$raw/$(hex a)")" above
same "empty component" "$(cat "$raw/$(hex a//c)")" empty
same "upper case" "$(cat "$raw/612F62")" below
same "long" "$(cat "$raw/$chunk%+/$chunk%+/"*)" long
same "one file" "$(stat -c %i "$raw/$(hex a/b)")" "$(stat -c %i "$mnt/a/b")"
same "size" "$(stat -c %s "$raw/$(hex a)")" 5
# Written by either name, seen by the other; absences that the kernel remembers end.
[ ! -e "$mnt/x/y/z" ] && [ ! -e "$mnt/new" ]
echo one >"$raw/$(hex x/y/z)"
for _ in $(seq 100); do [ -e "$mnt/x/y/z" ] && break; sleep 0.02; done
same "by path" "$(cat "$mnt/x/y/z")" one
echo two >"$mnt/x/y/z"
same "by bytes" "$(cat "$raw/$(hex x/y/z)")" two
printf 'nul\0byte' >"$raw/00ff2f2e"
same "token" "$(cat "$mnt/%00"$'\xff'/%2E | tr '\0' _)" nul_byte
echo nothing >"$raw/%empty"
same "empty key" "$(cat "$mnt/%empty")" nothing
mkdir "$mnt/dir"
echo value >"$raw/$(hex dir)"
echo in >"$mnt/dir/in"
same "value of a directory" "$(cat "$raw/$(hex dir)" "$mnt/dir/%value")" $'value\nvalue'
echo part >>"$raw/$chunk%+/$chunk%+/$(hex "$(printf 'k%.0s' $(seq 47))")"
rm "$raw/$(hex x/y/z)"
for _ in $(seq 100); do [ -e "$mnt/x/y/z" ] || break; sleep 0.02; done
[ ! -e "$mnt/x/y/z" ] && [ ! -e "$raw/$(hex x/y/z)" ] || fail "an unlinked key is still there"
rm "$mnt/a/b"
[ ! -e "$raw/$(hex a/b)" ] || fail "a removed file is still a key"
refused "No such file" cat "$raw/6"
refused "Invalid argument" bash -c "echo x >$raw/6"
refused "Not a directory" bash -c "echo x >$raw/$(hex a//c/d)"
refused "Operation not permitted" mkdir "$raw/70"
refused "Operation not permitted" mv "$raw/$(hex a)" "$mnt/moved"
remount_db
same "after a remount" "$(cat "$mnt/.wombat/raw/00ff2f2e" | tr '\0' _)" nul_byte
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null || true
daemon_pid=
fusermount3 -u "$mnt"
mount_db
same "after kill -9" "$(cat "$mnt/.wombat/raw/$(hex dir)")" value
for i in $(seq 2000); do echo "$i" >"$mnt/n$i"; done
same "streamed" "$(ls "$mnt/.wombat/raw" | grep -c "^$(hex n)3")" 2000
# As the names of the paths are in order, so are these.
LC_ALL=C ls -f "$mnt/.wombat/raw" | grep -v '[.%]' | LC_ALL=C sort -c || fail "the listing is out of order"
unmount_db
same "in the database" "$("$wombat" get "$db" dir)" value
