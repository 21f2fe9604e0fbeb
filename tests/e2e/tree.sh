#!/bin/bash
# A large real tree with links: copied in, compared in content and metadata, again after a remount, and tarred out.
. "$(dirname "$0")/lib.sh"
tree=$dir/tree
mkdir "$tree"
cp -a /usr/include "$tree/include"
cp -a /usr/share/doc "$tree/doc" 2>/dev/null || true
mount_db
meta() { # type, permissions, owner, size, time and target of everything; a directory's size means nothing
	(cd "$1" && find . -printf '%y %m %U %G %s %T@ %l %p\n' | awk '$1 == "d" { $5 = "" } { print }' | LC_ALL=C sort)
}
cp -a "$tree" "$mnt/copy"
diff -r --no-dereference "$tree" "$mnt/copy"
meta "$tree" >"$dir/wanted"
meta "$mnt/copy" | cmp - "$dir/wanted"
remount_db
diff -r --no-dereference "$tree" "$mnt/copy"
meta "$mnt/copy" | cmp - "$dir/wanted"
mkdir "$dir/out"
tar --format=posix -C "$mnt" -cf - copy | tar -C "$dir/out" -xf -
diff -r --no-dereference "$tree" "$dir/out/copy"
meta "$dir/out/copy" | cmp - "$dir/wanted"
echo "$(wc -l <"$dir/wanted") entries"
mv "$mnt/copy" "$mnt/renamed"
diff -r --no-dereference "$tree" "$mnt/renamed"
rm -rf "$mnt/renamed"
same "after rm -rf" "$(ls -A "$mnt")" ""
unmount_db
same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
