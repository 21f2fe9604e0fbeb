#!/bin/bash
# Transactions on a mount: seen by nobody before they are committed, by everybody then, the kernel's caches included;
# conflicts; what is given up; and random calls in one in step with the machine's file system, which are all there after it.
. "$(dirname "$0")/lib.sh"
in_step=$build_dir/tests/e2e/in_step
txn=$mnt/.wombat/txn commit=$mnt/.wombat/commit
seed=${WOMBAT_SEED:-$(date +%N | sed 's/^0*//')}
steps=${WOMBAT_STEPS:-1500}

# state DIR: names, types, modes, link counts, contents.
state() {
	(cd "$1" && find . -path ./.wombat -prune -o -printf '%p %y %m %n %l\n' | sort && find . -path ./.wombat -prune -o -type f -print0 |
		sort -z | xargs -0r sha256sum)
}

mount_db
cd "$mnt"
mkdir -p d/implicit away && echo old >d/changed && echo gone >d/removed && echo moved >away/file && ln d/changed linked
echo below >d/implicit/file
echo file >becomes-directory
mkdir becomes-file
ls -lR . >/dev/null # the kernel knows all of it, and what is not there
[ ! -e new ] && [ ! -e d/new ] && [ ! -e there ]
exec 5<d/removed 6<d/changed 7<d
before=$(state .)

mkdir "$txn/one"
same "it begins with what is there" "$(state "$txn/one")" "$before"
cd "$txn/one"
echo new >d/changed && echo new >new && echo new >d/new && rm d/removed && mv away there && chmod 700 d && rm -r d/implicit
rm becomes-directory && mkdir becomes-directory && echo inside >becomes-directory/file
rmdir becomes-file && echo now >becomes-file
ln new second
setfattr -n user.colour -v blue d
python3 - <<'PY'
f = open("large", "wb")
f.write(b"begin"); f.seek(3 << 20); f.write(b"end"); f.close()
f = open("large", "r+b"); f.seek(1 << 20); f.write(b"middle"); f.close()
PY
after=$(state .)
cd "$mnt"
same "nobody else sees it" "$(state .)" "$before"
mv "$txn/one" "$commit/"
same "everybody does" "$(state .)" "$after"
same "a name that was not there" "$(cat new d/new there/file)" $'new\nnew\nmoved'
[ ! -e d/removed ] && [ ! -e away ] && [ ! -e d/implicit ]
same "its names" "$(ls "$txn" "$commit" | grep -v :)" ""
same "links" "$(stat -c %h new second linked)" $'2\n2\n2'
same "attributes of a directory" "$(getfattr --only-values -n user.colour d)" blue
same "who has them open reads on" "$(cat <&5 && cat <&6)" $'gone\nold'
same "in a directory" "$(cd /proc/self/fd/7 && cat new)" new
exec 5<&- 6<&- 7<&-
remount_db
cd "$mnt"
same "after a remount" "$(state .)" "$after"

# A change outside of what was changed inside.
mkdir "$txn/two"
echo mine >"$txn/two/new"
echo mine >"$txn/two/other"
echo theirs >new
for _ in 1 2; do
	mv "$txn/two" "$commit/" 2>"$dir/out" && fail "a conflict was committed"
	grep -q "Device or resource busy" "$dir/out" || fail "$(cat "$dir/out")"
	grep -q '"new"' .wombat/last_error || fail "last_error: $(cat .wombat/last_error)"
done
same "it is as it was" "$(cat "$txn/two/new" "$txn/two/other" new)" $'mine\nmine\ntheirs'
[ ! -e other ]
rmdir "$txn/two"
same "given up" "$(ls "$txn")" ""
# Two that change different files of one directory.
mkdir "$txn/three" "$txn/four"
echo 3 >"$txn/three/d/three" && echo 4 >"$txn/four/d/four" && echo 5 >d/five
mv "$txn/three" "$commit/" && mv "$txn/four" "$commit/any name"
same "all of them" "$(cat d/three d/four d/five)" $'3\n4\n5'

# A directory that moves away, and others by its name and by those below it: whoever knows the names sees new ones.
mkdir -p place/implicit place/made && echo 1 >place/implicit/file && echo 1 >place/made/file
ls -lR place >/dev/null
was=$(stat -c %i place)
mkdir "$txn/places"
(cd "$txn/places" && mv place gone && mkdir -p place/implicit place/made && echo 2 >place/implicit/file && echo 2 >place/made/file)
mv "$txn/places" "$commit/"
numbers() { stat -c %i place place/* place/*/* gone gone/* gone/*/*; }
same "the number goes with it" "$(stat -c %i gone)" "$was"
same "no number twice" "$(numbers | sort | uniq -d)" ""
before=$(numbers)
remount_db
cd "$mnt"
same "they stay" "$(numbers)" "$before"

# What is refused.
mkdir "$txn/five"
refused "File exists" mkdir "$txn/five"
refused "not permitted" mv "$txn/five" "$txn/six"
refused "not permitted" mkdir "$commit/x"
refused "No such file" mv "$txn/none" "$commit/"
exec 5>"$txn/five/held"
echo written >&5
mv "$txn/five" "$commit/"
same "what was written and not closed is in it" "$(cat held)" written
echo late >&5 2>/dev/null && fail "a write after the commit"
exec 5>&-
same "and nothing more" "$(cat held)" written

# Nobody uses it.
mkdir "$txn/idle"
echo txn_idle_ms=50 >.wombat/config
sleep 0.2
ls . >/dev/null
same "it ended by itself" "$(ls "$txn")" ""
echo txn_idle_ms=0 >.wombat/config
# The end of the mount is that of all of them.
mkdir "$txn/last"
echo x >"$txn/last/lost"
before=$(state .)
remount_db
cd "$mnt"
same "it is gone" "$(ls "$txn")" ""
same "and what was in it" "$(state .)" "$before"
unmount_db
same "check" "$("$wombat" check "$db" >"$dir/out" && echo sound || cat "$dir/out")" sound

# Real programs.
mount_db
cd "$mnt"
mkdir "$txn/git"
(cd "$txn/git" && mkdir repository && cd repository && git init -q . && git config user.email a@b && git config user.name a &&
	seq 1000 >file && git add . && git commit -qm first && git mv file moved && git commit -qam second && git gc -q)
[ ! -e repository ]
mv "$txn/git" "$commit/"
(cd repository && git fsck --strict 2>"$dir/out" && git status --short && git log --oneline | wc -l) >"$dir/out2" || fail "$(cat "$dir/out")"
same "git" "$(tail -1 "$dir/out2")" 2
unmount_db

# Random calls, by several users.
[ "$(id -u)" -eq 0 ] || exit 0
chmod 755 "$dir"
rm -rf "$db" "$dir/reference"
mkdir "$dir/reference"
rights=allow_other,default_permissions,dev,suid
mount_db -o "$rights"
mkdir "$mnt/tree"
chmod 777 "$mnt/tree" "$dir/reference"
for round in 1 2 3; do
	seed=$((seed + 1))
	mkdir "$txn/random"
	WOMBAT_SEED=$seed "$in_step" "$txn/random/tree" "$dir/reference" "$steps" || fail "round $round"
	mv "$txn/random" "$commit/" || fail "round $round: $(cat "$mnt/.wombat/last_error")"
	"$in_step" --compare "$mnt/tree" "$dir/reference" || fail "the trees differ after round $round (WOMBAT_SEED=$seed)"
	seed=$((seed + 1))
	WOMBAT_SEED=$seed "$in_step" "$mnt/tree" "$dir/reference" "$steps" || fail "on the mount, round $round"
	remount_db -o "$rights"
	"$in_step" --compare "$mnt/tree" "$dir/reference" || fail "the trees differ after a remount, round $round (WOMBAT_SEED=$seed)"
done
unmount_db
