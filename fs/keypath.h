/*
 * Path components to key bytes and back: the closed set of escapes. No I/O.
 *
 * A key is a sequence of components cut at '/'; a path shows each as a file name. What a file name
 * cannot say is said by tokens:
 *
 *     %00 %25      anywhere: a NUL byte; a '%' that would otherwise read as a token
 *     %2E %2E%2E   whole component: "." and ".."
 *     %empty       whole component: the empty one (key a//b is a/%empty/b, key a/ is a/%empty)
 *     %value       whole component, last: the value of a key that is also a prefix (keys a and a/b are
 *                  a/%value and a/b)
 *     %2Ewombat    whole component, at the root only: the key component ".wombat" (the control directory's
 *                  name, which -o ctldir=NAME changes)
 *     chunk%+      a component over 255 bytes continues in the directory of that name
 *
 * Each key has one path and each valid path one key, so a '%' is escaped only where it would read as a token
 * (50%, a%20b and %value-added stay as they are), and a name that says what another name says is refused.
 * The whole-component tokens have no meaning in the directory of a chunk, where a name is part of a component.
 * A file key ends in a component and a directory prefix in a '/', so the key "" is the path %empty.
 */
#ifndef WOMBAT_FS_KEYPATH_H
#define WOMBAT_FS_KEYPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEYPATH_NAME_MAX = 255, KEYPATH_CTLDIR_MAX = 128 };

/*
 * Where a directory of the mount stands in the key space. The key prefix of its children is
 * `prefix` + `pending`: whole components, each with its '/', then the begun component (only in the
 * directory of a chunk that ends in %+).
 */
enum keypath_kind {
	KEYPATH_NAME,  /* child: a component (or its last chunk): file key = prefix + bytes, dir prefix = that + '/' */
	KEYPATH_CHUNK, /* child: a begun component; always a directory, its children extend prefix + bytes */
	KEYPATH_VALUE, /* %value: the value at the directory's own key (its prefix without the last '/') */
	KEYPATH_BAD,   /* not a name of this mapping: ENOENT on lookup, EINVAL on creation */
};

struct keypath_context {
	bool root;             /* the mount's root: the control name is escaped here */
	bool in_chunk;         /* the directory is a chunk: names here continue a component */
	const char *ctldir;    /* name of the control directory, ".wombat" */
	/* in_chunk: the bytes of the component so far, all its chunks. They decide whether a name may follow: a
	 * chunk holds as much as fits, or a key would have two paths. NULL: not judged, for names that a mount
	 * listed and so are right. */
	const uint8_t *pending;
	size_t pending_len;
};

/* Decodes a file name met in a directory; `out` has room for KEYPATH_NAME_MAX bytes. */
enum keypath_kind keypath_decode(const struct keypath_context *in, const char *name, size_t name_len,
	uint8_t *out, size_t *out_len);

/*
 * The file name that shows key component `bytes` (the rest of it, in a chunk directory) in a directory.
 * `out` has room for KEYPATH_NAME_MAX + 1. Returns how many bytes of the component the name stands for:
 * all of `len` and KEYPATH_NAME, or fewer and KEYPATH_CHUNK (the rest continues inside).
 */
size_t keypath_encode(const struct keypath_context *in, const uint8_t *bytes, size_t len,
	char *out, size_t *out_name_len, enum keypath_kind *out_kind);

/* Whether `name` can be that of the control directory: a file name without '%', KEYPATH_CTLDIR_MAX at most. */
bool keypath_ctldir_is_valid(const char *name);

/* A whole key as a relative path and back, for the tool and for messages. `is_prefix_too`: other keys lie
 * below it, so that it shows as .../%value. Return malloc'd text (NUL-terminated, the key too), NULL: out of
 * memory, or (to key) not a valid path: *out_bad is set. */
char *keypath_from_key(const uint8_t *key, size_t len, bool is_prefix_too, const char *ctldir);
uint8_t *keypath_to_key(const char *path, const char *ctldir, size_t *out_len, bool *out_bad);

#endif
