#!/bin/bash
# A database as a directory: mount it, use shell tools on it, tune it, unmount it.
#
#     examples/mount.sh [DIRECTORY]
#
# Wants wombatfs and wombat in the path (or in WOMBATFS and WOMBAT) and jq. Without DIRECTORY it works in a
# temporary one, which it removes.
set -euo pipefail
wombatfs=${WOMBATFS:-wombatfs} wombat=${WOMBAT:-wombat}

directory=${1:-$(mktemp -d)}
db=$directory/example.db mnt=$directory/mnt
mkdir -p "$mnt"
clean_up() {
	if mountpoint -q "$mnt"; then fusermount3 -u "$mnt"; fi
	if [ $# -eq 0 ] || [ -z "$1" ]; then rm -rf "$directory"; fi
}
trap 'clean_up "${1:-}"' EXIT

# Missing databases are made. When this returns the mount is live.
"$wombatfs" "$db" "$mnt"

# A value is a file, its key the path. Directories need not be made, but may be.
mkdir -p "$mnt/users/42"
echo "Ada Lovelace" >"$mnt/users/42/name"
cp "$0" "$mnt/script"
mv "$mnt/users/42" "$mnt/users/ada"
ls -lR "$mnt"

# A whole tree goes in and comes out.
mkdir "$directory/tree"
for i in $(seq 100); do echo "$i" >"$directory/tree/$i"; done
cp -r "$directory/tree" "$mnt/"
diff -r "$directory/tree" "$mnt/tree" && echo "the copy is the same"

# The control directory is not listed, but it is there.
echo "requests of the kernel so far: $(jq '[.. | objects | .requests? // empty | .. | numbers] | add' "$mnt/.wombat/stats")"
echo block_cache_size=64M >"$mnt/.wombat/config"
grep '^block_cache_size=' "$mnt/.wombat/config"

fusermount3 -u "$mnt"

# The same data without a mount, once the daemon has closed the database.
until "$wombat" get "$db" users/ada/name 2>/dev/null; do sleep 0.1; done
