/* Keyspaces that callers may name, and keys in sentences. */
#include "engine/base/ikey.h"

#include <stdio.h>

enum wombat_status keyspace_check(unsigned keyspace)
{
	if (keyspace < 1 || keyspace > WOMBAT_KEYSPACE_MAX)
		return fail(WOMBAT_INVALID, "keyspace %u is outside 1..%d", keyspace, WOMBAT_KEYSPACE_MAX);
	return WOMBAT_OK;
}

const char *key_text(struct wombat_slice key, char out[KEY_TEXT])
{
	size_t n = 0;
	for (size_t i = 0; i < key.size && i < KEY_TEXT_SHOWN; i++) {
		uint8_t c = key.data[i];
		if (c >= 0x20 && c < 0x7f && c != '\\' && c != '"')
			out[n++] = (char)c;
		else
			n += (size_t)snprintf(out + n, KEY_TEXT - n, "\\x%02x", c);
	}
	snprintf(out + n, KEY_TEXT - n, "%s", key.size > KEY_TEXT_SHOWN ? "..." : "");
	return out;
}

const char *key_text_full(struct wombat_slice key, char out[KEY_TEXT_FULL])
{
	char text[KEY_TEXT];
	if (key.size == 0)
		return "the end";
	snprintf(out, KEY_TEXT_FULL, "keyspace %u key \"%s\"", key.data[0],
		 key_text(slice_make(key.data + 1, key.size - 1), text));
	return out;
}
