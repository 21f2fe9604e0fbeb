/*
 * Path components to key bytes and back. See keypath.h for the tokens.
 *
 * Encoding writes a component byte by byte and escapes a '%' in three places only: where "00" or "25" follows
 * (it would read as the token of a byte), before a final '+' (the name would read as a chunk) and at the start
 * of a component that spells a whole-component token. Each of these is decided within one file name, so that
 * a name can be decoded without its neighbours.
 *
 * Decoding reverses that and then encodes again: a name is valid exactly when it comes out as it went in. That
 * one comparison is what makes the mapping one to one; no rule about superfluous escapes is written twice.
 *
 * Chunks are greedy. A component whose name would be longer than 255 bytes gives up the longest head whose
 * escaped form, with the "%+" behind it, fits; what remains goes through the same rule in the chunk's directory.
 * Escaped forms grow with every byte, so the longest head is found by walking until the room is used up. A tail
 * is never ".", ".." or empty: with so little behind it the component would have fitted.
 */
#include "fs/keypath.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char hex_digits[] = "0123456789ABCDEF";
static const char value_token[] = "%value";
static const char chunk_mark[] = "%+";

enum {
	CHUNK_MARK_SIZE = sizeof(chunk_mark) - 1,
	CHUNK_BODY_MAX = KEYPATH_NAME_MAX - CHUNK_MARK_SIZE,
	BYTE_TOKEN_SIZE = 3,
};

/* ---- Tokens of single bytes ---- */

static bool spells_byte_token(const uint8_t *bytes, size_t len)
{
	return len >= BYTE_TOKEN_SIZE && bytes[0] == '%' &&
		(memcmp(bytes + 1, "00", 2) == 0 || memcmp(bytes + 1, "25", 2) == 0);
}

/* How many bytes of a name the byte at `i` of a `len` byte chunk or component takes. */
static size_t encoded_size(const uint8_t *bytes, size_t len, size_t i)
{
	return bytes[i] == '\0' || spells_byte_token(bytes + i, len - i) ? BYTE_TOKEN_SIZE : 1;
}

static size_t append_token(char *out, size_t at, const char *token)
{
	memcpy(out + at, token, BYTE_TOKEN_SIZE);
	return at + BYTE_TOKEN_SIZE;
}

/* Escapes NULs and what spells a byte token. `out` has room. Returns the size. */
static size_t encode_bytes(const uint8_t *bytes, size_t len, char *out)
{
	size_t size = 0;
	for (size_t i = 0; i < len; i++) {
		if (encoded_size(bytes, len, i) == 1)
			out[size++] = (char)bytes[i];
		else
			size = append_token(out, size, bytes[i] == '\0' ? "%00" : "%25");
	}
	return size;
}

static size_t decode_bytes(const char *name, size_t len, uint8_t *out)
{
	size_t size = 0;
	for (size_t i = 0; i < len; i++) {
		if (!spells_byte_token((const uint8_t *)name + i, len - i)) {
			out[size++] = (uint8_t)name[i];
			continue;
		}
		out[size++] = name[i + 1] == '0' ? '\0' : '%';
		i += BYTE_TOKEN_SIZE - 1;
	}
	return size;
}

/* ---- Tokens of whole components ---- */

static bool is_text(const void *bytes, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

/* Whether `token` is `component` with its first byte in hexadecimal. */
static bool is_escaped_name(const char *token, size_t token_len, const char *component)
{
	uint8_t first = (uint8_t)component[0];
	return token_len == strlen(component) + 2 && token[0] == '%' && token[1] == hex_digits[first >> 4] &&
		token[2] == hex_digits[first & 15] && memcmp(token + 3, component + 1, token_len - 3) == 0;
}

/*
 * The component that a whole-component token stands for, NULL: it is no such token. %value stands for none
 * and is not among these.
 */
static const char *component_of_token(const struct keypath_context *in, const char *name, size_t len)
{
	if (in->in_chunk || len == 0 || name[0] != '%')
		return NULL;
	if (is_text(name, len, "%2E"))
		return ".";
	if (is_text(name, len, "%2E%2E"))
		return "..";
	if (is_text(name, len, "%empty"))
		return "";
	if (in->root && is_escaped_name(name, len, in->ctldir))
		return in->ctldir;
	return NULL;
}

/* The token for a component that no file name can say, written to `out`; 0: it needs none. */
static size_t token_of_component(const struct keypath_context *in, const uint8_t *bytes, size_t len, char *out)
{
	if (in->in_chunk)
		return 0;
	if (len == 0) {
		memcpy(out, "%empty", 6);
		return 6;
	}
	if (is_text(bytes, len, "..")) {
		memcpy(out, "%2E%2E", 6);
		return 6;
	}
	if (!is_text(bytes, len, ".") && !(in->root && is_text(bytes, len, in->ctldir)))
		return 0;
	out[0] = '%';
	out[1] = hex_digits[bytes[0] >> 4];
	out[2] = hex_digits[bytes[0] & 15];
	memcpy(out + 3, bytes + 1, len - 1);
	return len + 2;
}

static bool reads_as_token(const struct keypath_context *in, const char *name, size_t len)
{
	return component_of_token(in, name, len) || (!in->in_chunk && is_text(name, len, value_token));
}

bool keypath_ctldir_is_valid(const char *name)
{
	size_t len = strlen(name);
	/* Far below where the token for a key component of that name would meet the length of a chunk. */
	return len > 0 && len <= KEYPATH_CTLDIR_MAX && !strpbrk(name, "/%") && !is_text(name, len, ".") &&
		!is_text(name, len, "..");
}

/* ---- One name ---- */

/*
 * The name of a whole component (or of the rest of one), 0: it is longer than a name can be. `out` has room
 * for KEYPATH_NAME_MAX + 1 + BYTE_TOKEN_SIZE bytes.
 */
static size_t encode_whole(const struct keypath_context *in, const uint8_t *bytes, size_t len, char *out)
{
	size_t size = token_of_component(in, bytes, len, out);
	if (size > 0 || len == 0)
		return size;
	for (size_t i = 0; i < len; i++) {
		size += encoded_size(bytes, len, i);
		if (size > KEYPATH_NAME_MAX)
			return 0;
	}
	encode_bytes(bytes, len, out);

	/* A '%' may still read as something in the name as a whole; only an unescaped one can. */
	size_t percent = size;
	if (size >= CHUNK_MARK_SIZE && is_text(out + size - CHUNK_MARK_SIZE, CHUNK_MARK_SIZE, chunk_mark))
		percent = size - CHUNK_MARK_SIZE;
	else if (reads_as_token(in, out, size))
		percent = 0;
	if (percent == size)
		return size;
	if (size + BYTE_TOKEN_SIZE - 1 > KEYPATH_NAME_MAX)
		return 0;
	memmove(out + percent + BYTE_TOKEN_SIZE, out + percent + 1, size - percent - 1);
	append_token(out, percent, "%25");
	return size + BYTE_TOKEN_SIZE - 1;
}

/* The longest head of the component whose name fits beside the chunk mark. */
static size_t chunk_length(const uint8_t *bytes, size_t len)
{
	size_t size = 0, n = 0;
	/* Each step judges the head as if nothing followed: what begins a token in the next chunk is none here. */
	while (n < len) {
		size_t grown = size + (bytes[n] == '\0' ? BYTE_TOKEN_SIZE : 1);
		/* The byte that completes "%00" or "%25" makes that '%' grow. */
		if (n >= 2 && spells_byte_token(bytes + n - 2, BYTE_TOKEN_SIZE))
			grown += BYTE_TOKEN_SIZE - 1;
		if (grown > CHUNK_BODY_MAX)
			break;
		size = grown;
		n++;
	}
	return n;
}

size_t keypath_encode(const struct keypath_context *in, const uint8_t *bytes, size_t len, char *out,
	size_t *out_name_len, enum keypath_kind *out_kind)
{
	char name[KEYPATH_NAME_MAX + 1 + BYTE_TOKEN_SIZE];
	size_t consumed = len;
	enum keypath_kind kind = KEYPATH_NAME;
	size_t size = encode_whole(in, bytes, len, name);
	if (size == 0) {
		kind = KEYPATH_CHUNK;
		consumed = chunk_length(bytes, len);
		size = encode_bytes(bytes, consumed, name);
		memcpy(name + size, chunk_mark, CHUNK_MARK_SIZE);
		size += CHUNK_MARK_SIZE;
	}
	assert(size > 0 && size <= KEYPATH_NAME_MAX);
	memcpy(out, name, size);
	out[size] = '\0';
	*out_name_len = size;
	*out_kind = kind;
	return consumed;
}

/*
 * Whether a component that is in its chunks so far `pending` may go on with `bytes`: encoded as a whole it has
 * to give the same chunks. Only the last one can differ, as each chunk is settled by the byte behind it.
 */
static bool may_follow(const struct keypath_context *in, const uint8_t *bytes, size_t len)
{
	if (!in->pending)
		return true;
	uint8_t joined[KEYPATH_NAME_MAX * 2];
	char name[KEYPATH_NAME_MAX + 1];
	const uint8_t *last = in->pending;
	size_t last_len = in->pending_len;
	/* All but the last chunk are as they were judged when the walk came through them. */
	while (last_len > 0) {
		size_t n = chunk_length(last, last_len);
		if (n == last_len)
			break;
		last += n;
		last_len -= n;
	}
	if (last_len == 0 || last_len > KEYPATH_NAME_MAX)
		return false;
	memcpy(joined, last, last_len);
	memcpy(joined + last_len, bytes, len);

	struct keypath_context where = { .in_chunk = true, .ctldir = in->ctldir };
	enum keypath_kind kind;
	size_t size;
	return keypath_encode(&where, joined, last_len + len, name, &size, &kind) == last_len && kind == KEYPATH_CHUNK;
}

static enum keypath_kind decode_chunk(const struct keypath_context *in, const char *name, size_t name_len,
	uint8_t *out, size_t *out_len)
{
	char again[KEYPATH_NAME_MAX];
	uint8_t bytes[KEYPATH_NAME_MAX];
	size_t body = name_len - CHUNK_MARK_SIZE;
	/* One byte more takes at most three, so a chunk that holds all it can is at least this long. */
	if (body > CHUNK_BODY_MAX || body + BYTE_TOKEN_SIZE <= CHUNK_BODY_MAX)
		return KEYPATH_BAD;
	size_t len = decode_bytes(name, body, bytes);
	if (encode_bytes(bytes, len, again) != body || memcmp(again, name, body) != 0)
		return KEYPATH_BAD;
	if (in->in_chunk && !may_follow(in, bytes, len))
		return KEYPATH_BAD;
	memcpy(out, bytes, len);
	*out_len = len;
	return KEYPATH_CHUNK;
}

enum keypath_kind keypath_decode(const struct keypath_context *in, const char *name, size_t name_len,
	uint8_t *out, size_t *out_len)
{
	if (name_len == 0 || name_len > KEYPATH_NAME_MAX || memchr(name, '/', name_len) || memchr(name, '\0', name_len))
		return KEYPATH_BAD;
	if (name_len >= CHUNK_MARK_SIZE &&
		is_text(name + name_len - CHUNK_MARK_SIZE, CHUNK_MARK_SIZE, chunk_mark))
		return decode_chunk(in, name, name_len, out, out_len);
	if (!in->in_chunk && is_text(name, name_len, value_token)) {
		*out_len = 0;
		return in->root ? KEYPATH_BAD : KEYPATH_VALUE;
	}
	const char *component = component_of_token(in, name, name_len);
	if (component) {
		*out_len = strlen(component);
		memcpy(out, component, *out_len);
		return KEYPATH_NAME;
	}

	char again[KEYPATH_NAME_MAX + 1 + BYTE_TOKEN_SIZE];
	uint8_t bytes[KEYPATH_NAME_MAX];
	size_t len = decode_bytes(name, name_len, bytes);
	if (encode_whole(in, bytes, len, again) != name_len || memcmp(again, name, name_len) != 0)
		return KEYPATH_BAD;
	if (in->in_chunk && !may_follow(in, bytes, len))
		return KEYPATH_BAD;
	memcpy(out, bytes, len);
	*out_len = len;
	return KEYPATH_NAME;
}

/* ---- Whole keys ---- */

struct text {
	char *data;
	size_t size, capacity;
};

/* Always leaves room for a NUL. */
static bool text_add(struct text *t, const void *data, size_t size)
{
	if (t->size + size + 1 > t->capacity) {
		size_t capacity = (t->size + size + 1) * 2;
		char *grown = realloc(t->data, capacity);
		if (!grown)
			return false;
		t->data = grown;
		t->capacity = capacity;
	}
	if (size > 0)
		memcpy(t->data + t->size, data, size);
	t->size += size;
	t->data[t->size] = '\0';
	return true;
}

static bool add_component(struct text *path, const uint8_t *bytes, size_t len, const char *ctldir)
{
	struct keypath_context in = { .root = path->size == 0, .ctldir = ctldir };
	enum keypath_kind kind;
	do {
		char name[KEYPATH_NAME_MAX + 1];
		size_t name_len;
		size_t n = keypath_encode(&in, bytes, len, name, &name_len, &kind);
		if ((path->size > 0 && !text_add(path, "/", 1)) || !text_add(path, name, name_len))
			return false;
		bytes += n;
		len -= n;
		in = (struct keypath_context){ .in_chunk = true, .ctldir = ctldir };
	} while (kind == KEYPATH_CHUNK);
	return true;
}

char *keypath_from_key(const uint8_t *key, size_t len, bool is_prefix_too, const char *ctldir)
{
	struct text path = { 0 };
	const uint8_t *at = key, *end = key + len;
	for (;;) {
		const uint8_t *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
		if (!add_component(&path, at, (size_t)((slash ? slash : end) - at), ctldir))
			goto no_memory;
		if (!slash)
			break;
		at = slash + 1;
	}
	if (is_prefix_too && (!text_add(&path, "/", 1) || !text_add(&path, value_token, sizeof(value_token) - 1)))
		goto no_memory;
	return path.data;
no_memory:
	free(path.data);
	return NULL;
}

/* A key in the making: `begun` is where its unfinished component starts. */
struct walk {
	struct text key;
	size_t begun;
	bool root, in_chunk, is_last;
};

/* Adds what one name says. False: out of memory, or (*out_bad) not a name there. */
static bool walk_name(struct walk *w, const char *name, size_t len, const char *ctldir, bool *out_bad)
{
	uint8_t bytes[KEYPATH_NAME_MAX];
	size_t size = 0;
	struct keypath_context in = { .root = w->root, .in_chunk = w->in_chunk, .ctldir = ctldir };
	if (w->in_chunk) {
		in.pending = (const uint8_t *)w->key.data + w->begun;
		in.pending_len = w->key.size - w->begun;
	}
	enum keypath_kind kind = KEYPATH_BAD;
	bool is_dot = is_text(name, len, ".") || is_text(name, len, "..");
	if (!is_dot && !(w->root && is_text(name, len, ctldir)))
		kind = keypath_decode(&in, name, len, bytes, &size);

	*out_bad = kind == KEYPATH_BAD || (kind == KEYPATH_VALUE && !w->is_last) || (kind == KEYPATH_CHUNK && w->is_last);
	if (*out_bad)
		return false;
	if (kind == KEYPATH_VALUE) {
		w->key.size--; /* the '/' behind the directory's own key */
		return true;
	}
	w->root = false;
	w->in_chunk = kind == KEYPATH_CHUNK;
	if (!text_add(&w->key, bytes, size))
		return false;
	if (w->in_chunk || w->is_last)
		return true;
	if (!text_add(&w->key, "/", 1))
		return false;
	w->begun = w->key.size;
	return true;
}

uint8_t *keypath_to_key(const char *path, const char *ctldir, size_t *out_len, bool *out_bad)
{
	struct walk w = { .root = true };
	*out_bad = false;
	while (!w.is_last) {
		const char *slash = strchrnul(path, '/');
		w.is_last = *slash == '\0';
		if (!walk_name(&w, path, (size_t)(slash - path), ctldir, out_bad))
			goto failed;
		path = slash + 1;
	}
	if (!text_add(&w.key, "", 0)) /* ends it, also when it is empty or was cut */
		goto failed;
	*out_len = w.key.size;
	return (uint8_t *)w.key.data;
failed:
	free(w.key.data);
	return NULL;
}
