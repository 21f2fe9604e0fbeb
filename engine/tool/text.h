/*
 * Bytes as text and back: escapes, hexadecimal, base64, JSON strings. Writers go to a stream, whose error
 * flag main() looks at once; decoders work in place, for what they make is never longer than what they read.
 */
#ifndef WOMBAT_TOOL_TEXT_H
#define WOMBAT_TOOL_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/wombat.h"

/* Printable ASCII as it is, but for backslash; \\ \t \n \r and \xHH for the rest. With `utf8`, valid UTF-8
 * beyond ASCII passes as well. */
void text_write_escaped(FILE *out, struct wombat_slice bytes, bool utf8);
/* How many characters text_write_escaped(..., false) writes. */
size_t text_escaped_size(struct wombat_slice bytes);
/* False: not what text_write_escaped writes. */
bool text_decode_escaped(char *text, size_t *size);

void text_write_hex(FILE *out, struct wombat_slice bytes);
bool text_decode_hex(char *text, size_t *size); /* either case */

/* RFC 4648 with padding. */
void text_write_base64(FILE *out, struct wombat_slice bytes);
size_t text_base64_size(size_t size);
bool text_decode_base64(char *text, size_t *size);

bool text_is_utf8(struct wombat_slice bytes);
/* A member of a JSON object: "NAME":"..." for valid UTF-8, "NAME_base64":"..." for other bytes. */
void text_write_json_member(FILE *out, const char *name, struct wombat_slice bytes);

#endif
