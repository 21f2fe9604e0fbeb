/* JSON piece by piece: see jsontext.h. */
#include "fs/jsontext.h"

#include <string.h>

/* How many bytes the character at p takes; 0: it is none. (RFC 3629, section 4.) */
static size_t utf8_size(const uint8_t *p, size_t left)
{
	static const struct { uint8_t first, last, size, low, high; } kinds[] = {
		{ 0x00, 0x7f, 1, 0, 0 },	{ 0xc2, 0xdf, 2, 0x80, 0xbf }, { 0xe0, 0xe0, 3, 0xa0, 0xbf },
		{ 0xe1, 0xec, 3, 0x80, 0xbf },	{ 0xed, 0xed, 3, 0x80, 0x9f }, { 0xee, 0xef, 3, 0x80, 0xbf },
		{ 0xf0, 0xf0, 4, 0x90, 0xbf },	{ 0xf1, 0xf3, 4, 0x80, 0xbf }, { 0xf4, 0xf4, 4, 0x80, 0x8f },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (*p < kinds[i].first || *p > kinds[i].last)
			continue;
		if (kinds[i].size > left || (kinds[i].size > 1 && (p[1] < kinds[i].low || p[1] > kinds[i].high)))
			return 0;
		for (size_t k = 2; k < kinds[i].size; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return kinds[i].size;
	}
	return 0;
}

static bool is_utf8(const uint8_t *p, size_t size)
{
	for (size_t at = 0, n; at < size; at += n) {
		n = p[at] < 0x80 ? 1 : utf8_size(p + at, size - at);
		if (n == 0)
			return false;
	}
	return true;
}

static bool add_text(struct control_text *out, const uint8_t *p, size_t size)
{
	bool ok = true;
	size_t plain = 0; /* bytes that stand for themselves, not yet added */
	for (size_t at = 0; at <= size && ok; at++) {
		if (at < size && p[at] >= ' ' && p[at] != '"' && p[at] != '\\' && p[at] != 0x7f) {
			plain++;
			continue;
		}
		ok = control_text_add(out, (const char *)p + at - plain, plain);
		plain = 0;
		if (at < size && ok)
			ok = p[at] == '"' || p[at] == '\\' ? control_text_printf(out, "\\%c", p[at]) :
				control_text_printf(out, "\\u%04x", p[at]);
	}
	return ok;
}

bool json_add_bytes(struct control_text *out, const char *name, const void *bytes, size_t size)
{
	const uint8_t *p = bytes;
	size_t name_size = strlen(name);
	if (size && !is_utf8(p, size)) {
		bool ok = control_text_printf(out, "\"%s_hex\":\"", name);
		for (size_t i = 0; i < size && ok; i++)
			ok = control_text_printf(out, "%02x", p[i]);
		return ok && control_text_add(out, "\"", 1);
	}
	return control_text_reserve(out, name_size + size + sizeof "\"\":\"\"") && control_text_add(out, "\"", 1) &&
	       control_text_add(out, name, name_size) && control_text_add(out, "\":\"", 3) && (!size || add_text(out, p, size)) && control_text_add(out, "\"", 1);
}
