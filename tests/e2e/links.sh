#!/bin/bash
# Hard links with the programs that make and keep them: ln, cp -a, tar, rsync -H, git; over remounts and a kill -9; what a
# library finds under each key; snapshots, expiry, and a change behind the mount's back.
. "$(dirname "$0")/lib.sh"
links() { stat -c %h "$@" | xargs; } # PATH...: their counts
inode() { stat -c %i "$@" | sort -u | wc -l; } # PATH...: how many files these are

mount_db
cd "$mnt"
echo one >a
mkdir d
ln a d/b
ln -P d/b c
same "counts" "$(links a d/b c)" "3 3 3"
same "one file" "$(inode a d/b c)" 1
echo two >>d/b
same "content by any name" "$(cat c)" $'one\ntwo'
chmod 640 c
touch -d @1000000000 a
setfattr -n user.x -v y d/b
same "attributes by any name" "$(stat -c '%a %Y' d/b) $(getfattr --only-values -n user.x a)" "640 1000000000 y"
same "find" "$(find . -links 3 | sort | xargs)" "./a ./c ./d/b"
same "find -samefile" "$(find . -samefile a | sort | xargs)" "./a ./c ./d/b"
refused "File exists" ln a c
refused "not allowed for directory" ln d e
refused "Invalid cross-device link" python3 -c 'import os, sys; os.link("a", sys.argv[1])' "$dir/out"
python3 - <<'PY'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def linkat(fd, path, new, flags):
    assert libc.linkat(fd, path.encode(), -100, new.encode(), flags) == 0, os.strerror(ctypes.get_errno())
fd = os.open("a", os.O_RDWR)
linkat(-100, f"/proc/self/fd/{fd}", "by-fd", 0x400)  # AT_SYMLINK_FOLLOW
assert os.fstat(fd).st_nlink == 4
os.unlink("a"); os.unlink("d/b")
assert os.fstat(fd).st_nlink == 2
os.pwrite(fd, b"ONE", 0)
os.close(fd)
assert open("c").read() == "ONE\ntwo\n"
os.rename("c", "by-fd")                  # of one file: nothing happens
assert os.stat("c").st_nlink == 2 and os.stat("by-fd").st_nlink == 2
fd = os.open("c", os.O_RDONLY)
linkat(fd, "", "empty", 0x1000)  # AT_EMPTY_PATH
assert os.stat("empty").st_nlink == 3
os.close(fd)
PY
ln c d/b
mv d e
same "a directory moved" "$(links c e/b)" "4 4"
rm e/b
rmdir e
same "a name less" "$(links c by-fd empty)" "3 3 3"

# A file that is changed in parts.
head -c 5000000 /dev/urandom >big
ln big big2
printf changed | dd of=big2 bs=1 seek=3000000 conv=notrunc status=none
cmp big big2
cp big big3 # shares what it has, but is another file
same "a copy" "$(links big big3)" "2 1"
truncate -s 4000000 big
same "truncated" "$(stat -c %s big2)" 4000000
cp big "$dir/big"
for mode in wait kill; do
	if [ "$mode" = kill ]; then
		sync big c
		cd /
		kill_daemon
		mount_db
	else
		remount_db
	fi
	cd "$mnt"
	same "$mode: counts" "$(links c by-fd empty big big2 big3)" "3 3 3 2 2 1"
	same "$mode: files" "$(inode c by-fd empty big big2 big3)" 3
	cmp "$dir/big" big2
done
same "by its bytes" "$(stat -c '%h %i' .wombat/raw/"$(printf c | xxd -p)")" "$(stat -c '%h %i' by-fd)"
rm .wombat/raw/"$(printf empty | xxd -p)"
for _ in $(seq 50); do
	[ "$(links c)" = 2 ] && break
	sleep 0.1
done
same "a name less by its bytes" "$(links c by-fd)" "2 2"

# Snapshots show the counts of their time.
mkdir .wombat/snapshot/s
rm by-fd
ln c later
same "now" "$(links c later)" "2 2"
same "in the snapshot" "$(links .wombat/snapshot/s/c .wombat/snapshot/s/by-fd) $(cat .wombat/snapshot/s/by-fd | xargs)" "2 2 ONE two"
rmdir .wombat/snapshot/s

# Expiry is the file's, so all names go.
echo gone >x
ln x y
setfattr -n user.wombat.ttl -v 1 y
ln x z
sleep 1.3
same "expired" "$(ls -d x y z 2>/dev/null)" ""

# Programs that keep links. A tree with some, and each way to copy it.
mkdir tree tree/sub
for i in $(seq 40); do
	echo "file $i" >"tree/f$i"
	ln "tree/f$i" "tree/sub/l$i"
	[ $((i % 4)) -ne 0 ] || ln "tree/f$i" "tree/sub/m$i"
done
shape_of() { (cd "$1" && find . -type f -printf '%i %n %p\n' | sort -k3 | awk '{ if (!($1 in id)) id[$1] = ++n; print id[$1], $2, $3 }'); }
shape_of tree >"$dir/shape"
same "groups" "$(awk '{ print $1 }' "$dir/shape" | sort -u | wc -l) $(wc -l <"$dir/shape")" "40 90"
cp -a tree "$dir/outside"
cp -a tree copied
cp -a --preserve=links "$dir/outside" back
tar -cf "$dir/tree.tar" tree
mkdir untarred && tar -xf "$dir/tree.tar" -C untarred
copies="copied back untarred/tree $dir/outside"
if command -v rsync >/dev/null; then
	rsync -aH tree/ synced/
	rsync -aH --delete "$dir/outside/" synced/
	copies+=" synced"
fi
cp -al tree linked
for copy in $copies; do
	shape_of "$copy" >"$dir/got"
	cmp "$dir/shape" "$dir/got" || fail "$copy"
done
same "a tree of links" "$(links tree/f1 tree/f4 linked/sub/l1)" "4 6 4"
rm -r linked
same "it went" "$(links tree/f1 tree/f4)" "2 3"
if command -v git >/dev/null; then
	export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
	git init -q repository
	(cd repository && cp -r ../tree . && git add . && git commit -qm tree && git gc -q)
	git clone -q --local repository clone
	pack=$(basename repository/.git/objects/pack/*.pack)
	same "git clone --local" "$(links "clone/.git/objects/pack/$pack")" 2
	git -C clone fsck --full >/dev/null
fi
remount_db
cd "$mnt"
for copy in $copies; do
	shape_of "$copy" >"$dir/got"
	cmp "$dir/shape" "$dir/got" || fail "$copy after a remount"
done

# Names come and go until the daemon is killed: the counts are right, and each key has its value.
mkdir churn
echo stays >churn/stays
for round in 1 2 3; do
	cat >"$dir/churn.py" <<'PY'
import os, random, sys
d, seed = sys.argv[1], int(sys.argv[2])
r = random.Random(seed)
print("begun", flush=True)
try:
    for n in range(100000):
        a, b = (f"{d}/n{r.randrange(12)}" for _ in range(2))
        what = r.randrange(5)
        try:
            if what == 0: open(a, "w").write(f"content {r.randrange(1000)} " * r.choice([1, 2000]))
            elif what == 1: os.unlink(a)
            elif what == 2: os.rename(a, b)
            else: os.link(a, b)
        except (FileNotFoundError, FileExistsError):
            pass
except OSError:
    pass
PY
	cd /
	python3 "$dir/churn.py" "$mnt/churn" "$round" >"$dir/begun" &
	churner=$!
	until [ -s "$dir/begun" ]; do sleep 0.05; done
	sleep "0.$((RANDOM % 6 + 3))"
	kill_daemon "$churner"
	mount_db
	cd "$mnt/churn"
	stat -c '%i %h' -- * | sort | uniq -c | awk '$1 != $3 { print; bad = 1 } END { exit bad }' || fail "counts after kill $round"
	for name in *; do
		cp "$name" "$dir/by-mount"
		"$wombat" get "$db" "churn/$name" >"$dir/by-key"
		cmp "$dir/by-mount" "$dir/by-key" || fail "churn/$name after kill $round"
	done
done

# What was changed behind the mount's back is a file of its own.
unmount_db
"$wombat" put "$db" later mine
mount_db
cd "$mnt"
same "one that left" "$(links c later) $(inode c later) $(cat later)" "1 1 2 mine"
same "the other" "$(cat c | xargs)" "ONE two"
unmount_db
same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
