/* See control_handle.h. */
#include "fs/control_handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/feed.h"

enum {
	BEHIND_KEPT = 2 << 20, /* the kernel asks for whole pages, or several, again when a file has grown */
	BEHIND_MOST = 4 << 20,
};

struct control_handle {
	const struct control_entry *entry;
	bool by_offset;
	struct control_text text;
	/* Of one that goes on: */
	struct feed_reader reader;
	size_t at;     /* in `text`: what is told next */
	uint64_t base; /* by offset: where `text` begins */
};

int control_handle_new(struct mount *m, const struct control_entry *e, bool by_offset, struct control_handle **out)
{
	struct control_handle *h = calloc(1, sizeof *h);
	if (!h)
		return ENOMEM;
	h->entry = e;
	h->by_offset = by_offset;
	int error = e->stream ? e->stream->open(m, &h->reader) : e->render ? control_read(m, e, &h->text) : 0;
	if (error) {
		free(h);
		return error;
	}
	*out = h;
	return 0;
}

void control_handle_free(struct mount *m, struct control_handle *h)
{
	if (!h)
		return;
	if (h->entry->stream)
		h->entry->stream->close(m);
	control_text_done(&h->text);
	free(h);
}

/* Appends what has come meanwhile, and lets go of what was told long ago. */
static int fetch(struct mount *m, struct control_handle *h)
{
	if (h->text.size > BEHIND_MOST) {
		size_t gone = h->text.size - BEHIND_KEPT;
		memmove(h->text.data, h->text.data + gone, BEHIND_KEPT);
		h->text.size = BEHIND_KEPT;
		h->base += gone;
	}
	return h->entry->stream->read(m, &h->reader, &h->text);
}

uint64_t control_handle_size(struct mount *m, struct control_handle *h)
{
	if (!h->entry->stream)
		return h->text.size;
	if (!h->by_offset)
		return h->entry->stream->size(m);
	(void)fetch(m, h); /* Without memory for more it has not grown yet. */
	return h->base + h->text.size;
}

static int read_next(struct mount *m, struct control_handle *h, size_t size, const char **out, size_t *out_size)
{
	int error = 0;
	if (h->at == h->text.size) {
		h->at = h->text.size = 0;
		error = h->entry->stream->read(m, &h->reader, &h->text);
	}
	*out_size = h->text.size - h->at < size ? h->text.size - h->at : size;
	*out = h->text.data ? h->text.data + h->at : NULL;
	h->at += *out_size;
	return *out_size ? 0 : error;
}

int control_handle_read(struct mount *m, struct control_handle *h, uint64_t offset, size_t size, const char **out, size_t *out_size)
{
	if (h->entry->stream && !h->by_offset)
		return read_next(m, h, size, out, out_size);
	if (offset < h->base)
		return EIO;
	size_t at = offset - h->base < h->text.size ? (size_t)(offset - h->base) : h->text.size;
	*out_size = h->text.size - at < size ? h->text.size - at : size;
	*out = h->text.data ? h->text.data + at : NULL;
	return 0;
}
