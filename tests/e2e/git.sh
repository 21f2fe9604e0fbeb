#!/bin/bash
# A git repository: clone, change, commit, gc, fsck, status, before and after a remount.
. "$(dirname "$0")/lib.sh"
command -v git >/dev/null || skip "there is no git"
git() { command git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c safe.directory='*' -c gc.auto=0 "$@"; }
mkdir "$dir/origin"
cd "$dir/origin"
git init -q .
for i in $(seq 300); do mkdir -p "d$((i % 20))" && seq "$i" $((i + 200)) >"d$((i % 20))/f$i"; done
git add . && git commit -qm first
mount_db
cd "$mnt"
git clone -q "$dir/origin" clone
cd clone
same "status" "$(git status --short)" ""
for i in $(seq 50); do echo "change $i" >>"d$((i % 20))/f$i" && git commit -qam "change $i"; done
git checkout -q -b side HEAD~20 && echo side >side && git add side && git commit -qm side
git checkout -q main && git merge -q side -m merge
git gc -q
git fsck --strict >/dev/null
same "log" "$(git rev-list --count HEAD)" 53
remount_db
cd "$mnt/clone"
same "status after remount" "$(git status --short)" ""
git fsck --strict >/dev/null
git diff --quiet HEAD
cd /
unmount_db
