#!/bin/bash
# Awkward keys: a program linked with libwombat writes them, the shell reaches each; the shell writes, the program finds.
. "$(dirname "$0")/lib.sh"

cat >"$dir/keys.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <wombat.h>
static int unhex(const char *s, unsigned char *out)
{
	int n = 0;
	unsigned x;
	for (; sscanf(s, "%2x", &x) == 1; s += 2)
		out[n++] = (unsigned char)x;
	return n;
}
/* put: lines "hex-key value"; get: lines "hex-key", prints the value. */
int main(int argc, char **argv)
{
	struct wombat *db;
	char line[9000], *value;
	unsigned char key[4500];
	void *found;
	if (argc < 3 || wombat_open(argv[2], NULL, WOMBAT_CREATE, &db) != WOMBAT_OK)
		return fprintf(stderr, "%s\n", wombat_last_error()), 1;
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		value = strchr(line, ' ');
		if (value)
			*value++ = 0;
		struct wombat_slice k = WOMBAT_SLICE(key, (size_t)unhex(line, key));
		if (!strcmp(argv[1], "put")) {
			if (wombat_put(db, WOMBAT_USER, k, WOMBAT_STR(value)) != WOMBAT_OK)
				return fprintf(stderr, "%s\n", wombat_last_error()), 1;
		} else if (wombat_get_copy(db, NULL, WOMBAT_USER, k, &found, NULL) == WOMBAT_OK) {
			puts(found);
		} else {
			puts("(none)");
		}
	}
	return wombat_close(db) != WOMBAT_OK;
}
C
library=$build_dir/engine/.libs
[ -e "$library/libwombat.a" ] || skip "libwombat.a is not built"
flags=
if nm "$library/libwombat.a" 2>/dev/null | grep __asan_init >/dev/null; then flags="-fsanitize=address,undefined"; fi
if nm "$library/libwombat.a" 2>/dev/null | grep __tsan_init >/dev/null; then flags="-fsanitize=thread"; fi
read -r -a deflate < <(sed -n 's/^ZLIB_LIBS = //p' "$build_dir/Makefile")
${CC:-gcc} $flags -I"$source_dir/engine" -o "$dir/keys" "$dir/keys.c" "$library/libwombat.a" "${deflate[@]}" -lm -lpthread

# Path on the mount, key in hexadecimal.
long=$(printf 'k%.0s' $(seq 300))
hex() { printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }
{
	echo "plain $(hex plain)"
	echo "dir/file $(hex dir/file)"
	echo "both/%value $(hex both)"
	echo "both/below $(hex both/below)"
	echo "both-x $(hex both-x)"
	echo "both.c $(hex both.c)"
	echo "50% $(hex 50%)"
	echo "a%20b $(hex a%20b)"
	echo "%2500 $(hex %00)"
	echo "nul%00byte 6e756c0062797465"
	echo "e/%empty/f $(hex e//f)"
	echo "slash/%empty $(hex slash/)"
	echo "%empty/lead $(hex /lead)"
	echo "d/%2E $(hex d/.)"
	echo "d/%2E%2E $(hex d/..)"
	echo "%2Ewombat/x $(hex .wombat/x)"
	echo "sub/.wombat $(hex sub/.wombat)"
	echo "${long:0:253}%+/${long:253} $(hex "$long")"
	printf 'bytes\xff\xfe 6279746573fffe\n'
	printf 'new\xc3\xa9 6e6577c3a9\n'
} >"$dir/table"

while read -r path key; do echo "$key value of $key"; done <"$dir/table" | "$dir/keys" put "$db"
mount_db
while read -r path key; do
	[ -f "$mnt/$path" ] || fail "key $key is not at $path"
	same "$path" "$(cat "$mnt/$path")" "value of $key"
done <"$dir/table"
# Every file that a walk meets is one of these, and the other way round.
same "find" "$(cd "$mnt" && find . -type f | wc -l)" "$(wc -l <"$dir/table")"
same "walk" "$(cd "$mnt" && find . -type f | sed 's|^\./||' | sort)" "$(cut -d' ' -f1 "$dir/table" | sort)"
# A second spelling of a key that has a path already is no path.
refused "Invalid argument" touch "$mnt/%25"
refused "Invalid argument" touch "$mnt/a%25b"

# The other way: new values by the shell.
while read -r path key; do printf 'new %s' "$key" >"$mnt/$path"; done <"$dir/table"
mkdir -p "$mnt/made/%empty"
printf shell >"$mnt/made/%empty/z"
unmount_db
same "written by the shell" "$(cut -d' ' -f2 "$dir/table" | "$dir/keys" get "$db")" \
	"$(cut -d' ' -f2 "$dir/table" | sed 's/^/new /')"
same "made by the shell" "$(hex made//z | "$dir/keys" get "$db")" shell
