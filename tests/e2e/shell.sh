#!/bin/bash
# What a shell user does: write, append, list, copy, move, link, remove; and what is there after a remount.
. "$(dirname "$0")/lib.sh"
mount_db
cd "$mnt"

echo one >a
same "cat" "$(cat a)" one
echo two >>a
same "append" "$(cat a)" $'one\ntwo'
mkdir -p users/42/deep
echo Ada >users/42/name
same "ls" "$(ls users/42)" $'deep\nname'
cp a b && cmp a b
mv b users/42/moved
same "mv" "$(ls users/42)" $'deep\nmoved\nname'
ln -s ../42/name users/link
same "readlink" "$(readlink users/link)" ../42/name
mv users people
same "mv of a directory" "$(cat people/42/name)" Ada
[ ! -e users ] || fail "the old directory is still there"
rmdir people/42/deep
refused "Directory not empty" rmdir people/42
refused "No such file" cat people/42/none
refused "File exists" mkdir people
refused "Is a directory" bash -c '>people'
refused "Not a directory" cat a/b
refused "File name too long" touch "$(printf 'x%.0s' $(seq 256))"
mkfifo pipe && [ -p pipe ]
touch -d '2001-02-03 04:05:06.123456789 UTC' dated
same "times" "$(stat -c %.9Y dated)" 981173106.123456789
chmod 4750 dated
same "mode" "$(stat -c %a dated)" 4750
chown 123:456 dated
same "owner" "$(stat -c '%u:%g %a' dated)" "123:456 750"
truncate -s 100000 sparse
same "truncate" "$(stat -c %s sparse)" 100000
cmp <(head -c 100000 /dev/zero) sparse
printf 'xyz' | dd of=sparse bs=1 seek=50000 conv=notrunc status=none
same "write within" "$(dd if=sparse bs=1 skip=49999 count=5 status=none | od -An -c | tr -d ' ')" '\0xyz\0'
setfattr -n user.colour -v blue a
same "xattr" "$(getfattr --only-values -n user.colour a)" blue
setfattr -x user.colour a
refused "No such attribute" getfattr -n user.colour a
# The kernel's longest value, and 1.5 MiB of a file: more than most file systems take.
head -c 65536 /dev/urandom >"$dir/long"
for i in $(seq 24); do
	setfattr -n "user.long$i" -v "0s$(base64 -w 0 "$dir/long")" a || fail "value $i of 64 KiB"
done
attributes=$(getfattr -d a | sha256sum)
same "names" "$(getfattr a | grep -c user.long)" 24
getfattr --only-values -n user.long24 a | cmp - "$dir/long"
inodes=$(stat -c '%n %i' a dated people people/42/name sparse)
mv dated renamed
same "inode over rename" "$(stat -c %i renamed)" "$(awk '$1 == "dated" {print $2}' <<<"$inodes")"
touch dated
[ "$(stat -c %i dated)" != "$(stat -c %i renamed)" ] || fail "two files have one inode number"
rm dated && mv renamed dated

remount_db
cd "$mnt"
same "after remount" "$(cat people/42/name people/42/moved)" $'Ada\none\ntwo'
same "inodes after remount" "$(stat -c '%n %i' a dated people people/42/name sparse)" "$inodes"
same "attributes after remount" "$(stat -c '%u:%g %a %.9Y' dated)" "123:456 750 981173106.123456789"
same "long attributes after remount" "$(getfattr -d a | sha256sum)" "$attributes"
[ -p pipe ] && [ -L people/link ] || fail "types did not survive"
rm -r people
same "rm -r" "$(ls)" $'a\ndated\npipe\nsparse'
df . >/dev/null
unmount_db
same "the database's own view" "$("$wombat" get "$db" a)" $'one\ntwo'
same "its keys" "$("$wombat" scan "$db" --keys-only)" $'a\ndated\npipe\nsparse'
