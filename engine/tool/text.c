/*
 * Bytes as text and back: see text.h.
 */
#include "engine/tool/text.h"

#include <stdint.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

/* ---- UTF-8 ---- */

/* Length of the well-formed sequence (RFC 3629: no overlong forms, no surrogates) at p, 0 if there is none. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
	if (p[0] < 0x80)
		return 1;
	size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc2 || p[0] > 0xf4 || left < length)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
		(p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return length;
}

bool text_is_utf8(struct wombat_slice bytes)
{
	for (size_t i = 0; i < bytes.size;) {
		size_t length = utf8_length(bytes.data + i, bytes.size - i);
		if (length == 0)
			return false;
		i += length;
	}
	return true;
}

/* ---- Escapes ---- */

static char short_escape(uint8_t byte)
{
	switch (byte) {
	case '\\':
		return '\\';
	case '\t':
		return 't';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	default:
		return 0;
	}
}

static bool is_plain(uint8_t byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '\\';
}

void text_write_escaped(FILE *out, struct wombat_slice bytes, bool utf8)
{
	for (size_t i = 0; i < bytes.size; i++) {
		uint8_t byte = bytes.data[i];
		if (is_plain(byte)) {
			putc(byte, out);
			continue;
		}
		if (short_escape(byte)) {
			putc('\\', out);
			putc(short_escape(byte), out);
			continue;
		}
		size_t length = utf8 && byte >= 0x80 ? utf8_length(bytes.data + i, bytes.size - i) : 0;
		if (length > 0) {
			fwrite(bytes.data + i, 1, length, out);
			i += length - 1;
			continue;
		}
		fprintf(out, "\\x%02x", byte);
	}
}

size_t text_escaped_size(struct wombat_slice bytes)
{
	size_t size = 0;
	for (size_t i = 0; i < bytes.size; i++)
		size += is_plain(bytes.data[i]) ? 1 : short_escape(bytes.data[i]) ? 2 : 4;
	return size;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool text_decode_escaped(char *text, size_t *size)
{
	size_t out = 0;
	for (size_t i = 0; i < *size; i++) {
		if (text[i] != '\\') {
			text[out++] = text[i];
			continue;
		}
		if (++i == *size)
			return false;
		switch (text[i]) {
		case '\\':
			text[out++] = '\\';
			break;
		case 't':
			text[out++] = '\t';
			break;
		case 'n':
			text[out++] = '\n';
			break;
		case 'r':
			text[out++] = '\r';
			break;
		case 'x':
			if (*size - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
				return false;
			text[out++] = (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
			i += 2;
			break;
		default:
			return false;
		}
	}
	*size = out;
	return true;
}

/* ---- Hexadecimal ---- */

void text_write_hex(FILE *out, struct wombat_slice bytes)
{
	for (size_t i = 0; i < bytes.size; i++) {
		putc(hex_digits[bytes.data[i] >> 4], out);
		putc(hex_digits[bytes.data[i] & 15], out);
	}
}

bool text_decode_hex(char *text, size_t *size)
{
	if (*size % 2)
		return false;
	for (size_t i = 0; i < *size; i++)
		if (hex_value(text[i]) < 0)
			return false;
	for (size_t i = 0; i < *size; i += 2)
		text[i / 2] = (char)(hex_value(text[i]) << 4 | hex_value(text[i + 1]));
	*size /= 2;
	return true;
}

/* ---- Base64 ---- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t text_base64_size(size_t size)
{
	return (size + 2) / 3 * 4;
}

void text_write_base64(FILE *out, struct wombat_slice bytes)
{
	for (size_t i = 0; i < bytes.size; i += 3) {
		size_t left = bytes.size - i;
		uint32_t group = (uint32_t)bytes.data[i] << 16;
		if (left > 1)
			group |= (uint32_t)bytes.data[i + 1] << 8;
		if (left > 2)
			group |= bytes.data[i + 2];
		putc(base64_digits[group >> 18], out);
		putc(base64_digits[group >> 12 & 63], out);
		putc(left > 1 ? base64_digits[group >> 6 & 63] : '=', out);
		putc(left > 2 ? base64_digits[group & 63] : '=', out);
	}
}

static int base64_value(char c)
{
	const char *at = c ? strchr(base64_digits, c) : NULL;
	return at ? (int)(at - base64_digits) : -1;
}

bool text_decode_base64(char *text, size_t *size)
{
	if (*size % 4)
		return false;
	size_t padding = 0;
	while (padding < 2 && padding < *size && text[*size - 1 - padding] == '=')
		padding++;
	size_t out = 0;
	for (size_t i = 0; i < *size; i += 4) {
		uint32_t group = 0;
		for (size_t j = i; j < i + 4; j++) {
			int value = j >= *size - padding ? 0 : base64_value(text[j]);
			if (value < 0)
				return false;
			group = group << 6 | (uint32_t)value;
		}
		/* Three bytes for four characters: this never overtakes what is still to be read. */
		text[out++] = (char)(group >> 16);
		text[out++] = (char)(group >> 8);
		text[out++] = (char)group;
	}
	*size = out - padding;
	return true;
}

/* ---- JSON ---- */

static void write_json_string(FILE *out, struct wombat_slice bytes)
{
	for (size_t i = 0; i < bytes.size; i++) {
		uint8_t byte = bytes.data[i];
		if (byte == '"' || short_escape(byte)) {
			putc('\\', out);
			putc(byte == '"' ? '"' : short_escape(byte), out);
		} else if (byte < 0x20 || byte == 0x7f) {
			fprintf(out, "\\u%04x", byte);
		} else {
			putc(byte, out);
		}
	}
}

void text_write_json_member(FILE *out, const char *name, struct wombat_slice bytes)
{
	bool plain = text_is_utf8(bytes);
	fprintf(out, plain ? "\"%s\":\"" : "\"%s_base64\":\"", name);
	if (plain)
		write_json_string(out, bytes);
	else
		text_write_base64(out, bytes);
	putc('"', out);
}
