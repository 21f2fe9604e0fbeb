#!/bin/bash
# A large tree through rsync, tar and git, compared with the original; git's own checks and collection.
. "$(dirname "$0")/lib.sh"
need rsync tar git
source=$(choose /usr/share/perl /usr/lib/python3)
[ -d "$source" ] || source=/usr/share/doc
mount_db
rsync -aHX "$source/" "$mnt/tree/"
same "rsync: nothing left to do" "$(rsync -aHXni --checksum "$source/" "$mnt/tree/" | grep -v '^\.d' || true)" ""
tar -C "$mnt" -cf - tree | tar -C "$mnt" --transform 's,^tree,copy,' -xf -
diff -r --no-dereference "$mnt/tree" "$mnt/copy" || fail "tar"
mkdir "$mnt/repo"
git -C "$mnt/repo" init -q
git -C "$mnt/repo" config user.email nobody@example.org
git -C "$mnt/repo" config user.name nobody
cp -a "$source/." "$mnt/repo/"
git -C "$mnt/repo" add -A
git -C "$mnt/repo" commit -q -m "all"
for n in 1 2 3; do
	find "$mnt/repo" -name '*.p[ym]' | sed -n "1,$((n * 20))p" | while read -r file; do echo "# $n" >>"$file"; done
	git -C "$mnt/repo" commit -q -a -m "round $n"
done
git -C "$mnt/repo" gc -q --aggressive --prune=now
git -C "$mnt/repo" fsck --full --strict >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail "git fsck"; }
git clone -q "$mnt/repo" "$mnt/clone"
diff -r --exclude=.git "$mnt/repo" "$mnt/clone" || fail "git clone"
remount_db
git -C "$mnt/clone" fsck --full >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail "git fsck after a remount"; }
same "git status after a remount" "$(git -C "$mnt/repo" status --porcelain)" ""
rm -rf "$mnt/tree" "$mnt/copy" "$mnt/repo" "$mnt/clone"
same "all is gone" "$(ls -A "$mnt")" ""
sound
