/*
 * The mount's mapping: any bytes as a key become a path that becomes that key; any path that is one of a key is the only
 * one. And attribute blobs: what decodes encodes to what decodes to the same.
 */
#include "fs/attr.h"
#include "fs/keypath.h"
#include "tests/fuzz/fuzz.h"

static void fuzz_key(const uint8_t *data, size_t size)
{
	size_t again_size = 0;
	bool bad = false;
	if (size == 0 || size > 3000)
		return;
	char *path = keypath_from_key(data, size, false, ".wombat");
	if (!path)
		return;
	uint8_t *again = keypath_to_key(path, ".wombat", &again_size, &bad);
	MUST(again && !bad && again_size == size && memcmp(again, data, size) == 0);
	free(again);
	free(path);
}

static void fuzz_path(const uint8_t *data, size_t size)
{
	char *path = malloc(size + 1);
	size_t key_size = 0;
	bool bad = false;
	MUST(path);
	memcpy(path, data, size);
	path[size] = 0;
	uint8_t *key = keypath_to_key(path, ".wombat", &key_size, &bad);
	if (key && strlen(path) == size) {
		/* Each key has one path, but for the one that says whether others lie below. */
		char *plain = keypath_from_key(key, key_size, false, ".wombat"), *below = keypath_from_key(key, key_size, true, ".wombat");
		const char *relative = path;
		while (*relative == '/')
			relative++;
		MUST(plain && below && (strcmp(plain, relative) == 0 || strcmp(below, relative) == 0));
		free(plain);
		free(below);
	}
	free(key);
	free(path);
}

static void fuzz_attr(const uint8_t *data, size_t size)
{
	struct mount_options o = { .uid = 0 };
	struct attr a, b;
	for (int directory = 0; directory < 2; directory++) {
		uint8_t *blob = NULL;
		size_t blob_size = 0;
		if (attr_decode(&o, directory, 1000, data, size, &a))
			continue;
		if (attr_encode(&o, directory, &a, &blob, &blob_size) == 0) {
			MUST(attr_decode(&o, directory, attr_record_time(&a), blob, blob_size, &b) == 0);
			MUST(a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.mtime_ns == b.mtime_ns && a.ino == b.ino &&
			     a.rdev == b.rdev && a.xattrs_size == b.xattrs_size);
			MUST(!a.xattrs_size || memcmp(a.xattrs, b.xattrs, a.xattrs_size) == 0);
			attr_done(&b);
		}
		free(blob);
		attr_done(&a);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 3 == 0)
		fuzz_key(data + 1, size - 1);
	else if (data[0] % 3 == 1)
		fuzz_path(data + 1, size - 1);
	else
		fuzz_attr(data + 1, size - 1);
	return 0;
}

uint8_t *fuzz_seed(unsigned n, size_t *out_size)
{
	static const struct {
		int kind;
		const char *text;
		size_t size;
	} seeds[] = {
		{ 0, "users/42/name", 13 }, { 0, "a//b/", 5 }, { 0, "%25\0x/..", 8 }, { 0, ".wombat/%value", 14 }, { 1, "a/%empty/b", 10 },
		{ 1, "a/%value", 8 }, { 1, "%2Ewombat/x", 11 }, { 1, "%2E%2E/%00", 10 }, { 2, "\1\0\0", 3 },
		{ 2, "\1\3\0\xa4\x81\0\0\5\0\0\0\6\0\0\0", 15 }, { 2, "\1\0\1\6\0\0\0\4abcd", 12 },
		{ 2, "\1\0\1\x0a\0\0\0\4user\3\0abc", 17 },
	};
	if (n >= sizeof seeds / sizeof seeds[0])
		return NULL;
	return fuzz_copy(seeds[n].kind, seeds[n].text, seeds[n].size, out_size);
}
