#!/bin/bash
# Access control lists with setfacl and getfacl: who may what, modes, children, copies by the programs that copy them, a remount; and
# beside the machine's own file system.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || skip "another user's part takes root"
for program in setfacl getfacl setpriv rsync tar; do
	command -v $program >/dev/null || skip "there is no $program"
done
chmod 755 "$dir"
as() { setpriv --reuid="$1" --regid="$1" --groups="${3:-$1}" sh -c "$2" 2>/dev/null; }
as 1001 "test -x $dir" || skip "others may not enter ${TMPDIR:-/tmp}"
options=allow_other,default_permissions
mount_db -o $options

# may WHO WHAT FILE yes|no: whether the user may read (r) or write (w) it.
may() {
	local can=no
	case $2 in
	r) as "$1" "cat $3 >/dev/null" && can=yes ;;
	w) as "$1" ": >>$3" && can=yes ;;
	esac
	same "$1 $2 $3" $can "$4"
}
echo text >"$mnt/f"
chmod 640 "$mnt/f"
may 1001 r "$mnt/f" no
setfacl -m u:1001:r,g:1002:rw "$mnt/f"
same "mode with a mask" "$(stat -c %a "$mnt/f")" 660
may 1001 r "$mnt/f" yes
may 1001 w "$mnt/f" no
may 1002 w "$mnt/f" yes
may 1003 r "$mnt/f" no
chmod 600 "$mnt/f" # the mask goes down, and with it all that are named
may 1001 r "$mnt/f" no
may 1002 w "$mnt/f" no
chmod 640 "$mnt/f"
may 1001 r "$mnt/f" yes
may 1002 w "$mnt/f" no
same "after chmod" "$(getfacl -cnEp "$mnt/f" | tr '\n' ' ')" "user::rw- user:1001:r-- group::r-- group:1002:rw- mask::r-- other::---  "
setfacl -b "$mnt/f"
same "without a list" "$(getfacl -cnp "$mnt/f" | tr '\n' ' ')$(stat -c %a "$mnt/f")" "user::rw- group::r-- other::---  640"
may 1001 r "$mnt/f" no
refused "Operation not permitted" setpriv --reuid=1001 --clear-groups setfacl -m u:1001:rw "$mnt/f"

# Trees: the same commands here and beside; then the same lists and modes.
make_tree() {
	cd "$1"
	umask 027
	mkdir plain default
	setfacl -m d:u:1001:rwx,d:g:1002:r-x,d:o::--- default
	for d in plain default; do
		mkdir -m 755 $d/sub
		mkdir $d/sub/deep
		touch $d/file $d/sub/deep/file
		(umask 0 && touch $d/open && mkdir $d/wide)
		mkfifo -m 666 $d/pipe
		ln -s file $d/link
		cp /bin/true $d/program
		chmod 2755 $d/sub/deep/file
	done
	setfacl -m u:1003:rw,m::r default/file
	setfacl -k default/sub/deep
	mkdir default/sub/deep/below
	setfacl -R -m u:1004:rX plain
	chmod -R g-w,o+r default
	setfacl -x u:1004 plain/file
	setfacl -m o::- plain/open
	cd /
}
tell() { (cd "$1" && find . ! -type l | sort | while read -r f; do getfacl -np "$f"; done; find . -printf '%p %M\n' | sort); }
mkdir "$mnt/tree" "$dir/reference"
(make_tree "$mnt/tree")
(make_tree "$dir/reference")
tell "$dir/reference" >"$dir/expected"
compare() { tell "$1" >"$dir/told"; cmp -s "$dir/expected" "$dir/told" || fail "$2: $(diff "$dir/expected" "$dir/told" | head -20)"; }
compare "$mnt/tree" "a tree"
# The programs that copy lists: to the mount and from it.
cp -a "$dir/reference" "$mnt/copied"
compare "$mnt/copied" "cp -a in"
cp -a "$mnt/tree" "$dir/back"
compare "$dir/back" "cp -a out"
rsync -aA "$dir/reference/" "$mnt/synced/"
compare "$mnt/synced" "rsync -A"
tar -C "$mnt/tree" --acls -cf "$dir/t.tar" .
mkdir "$mnt/unpacked"
tar -C "$mnt/unpacked" --acls -xpf "$dir/t.tar"
compare "$mnt/unpacked" "tar"
mv "$mnt/unpacked" "$mnt/moved"
remount_db -o $options
compare "$mnt/tree" "after a remount"
compare "$mnt/moved" "moved"
mkdir "$mnt/.wombat/snapshot/s"
rm -r "$mnt/tree"
compare "$mnt/.wombat/snapshot/s/tree" "in a snapshot"
unmount_db

# Where the kernel checks nothing the lists are kept all the same, and the mode with them.
mount_db
compare "$mnt/moved" "on a mount of root's own"
setfacl -m u:1001:rw "$mnt/f"
for try in $(seq 50); do
	[ "$(stat -c %a "$mnt/f")" != 640 ] && break
	sleep 0.1
done
same "mode there" "$(stat -c %a "$mnt/f")" 660
unmount_db
