#!/bin/bash
# A C project built in the mount: this one's base layer, by make, compiled, archived, linked and run.
. "$(dirname "$0")/lib.sh"
mount_db
mkdir -p "$mnt/src/engine"
cp "$source_dir/engine/wombat.h" "$mnt/src/engine/"
cp -r "$source_dir/engine/base" "$mnt/src/engine/base"
cd "$mnt/src"
cat >Makefile <<'M'
objects = $(patsubst %.c,%.o,$(wildcard engine/base/*.c))
prog: main.o libbase.a
	$(CC) -o $@ $^ -lpthread
libbase.a: $(objects)
	$(AR) rcs $@ $^
%.o: %.c
	$(CC) -D_GNU_SOURCE -I. -O1 -c -o $@ $<
M
cat >main.c <<'C'
#include <stdio.h>
#include "engine/base/crc32c.h"
int main(void) { printf("%08x\n", crc32c(0, "123456789", 9)); return 0; }
C
make -s -j2
same "the program" "$(./prog)" e3069283
touch engine/base/crc32c.c
make -s -j2
same "nothing left to do" "$(make -q && echo yes)" yes
rm -r "$mnt/src/engine"
remount_db
same "the program after remount" "$("$mnt/src/prog")" e3069283
unmount_db
