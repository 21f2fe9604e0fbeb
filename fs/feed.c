/*
 * The ring: see feed.h. Its lines lie one behind the other, each behind a head, and wrap around anywhere. A place is how many bytes
 * were added before, so it stays what it is while the oldest lines go.
 */
#include "fs/feed.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 32 << 10 };

struct head {
	uint64_t number, line;
	size_t size;
};

struct feed {
	pthread_mutex_t mu;
	size_t capacity;
	uint64_t begin, end;  /* places of the oldest line and of the next one */
	uint64_t lines;       /* added so far */
	uint64_t lost_number; /* the greatest number of a line that is not in the ring any more */
	uint64_t text;        /* bytes of all lines, without heads: grows with each */
	char data[];
};

struct feed *feed_new(size_t capacity, uint64_t number)
{
	struct feed *f = malloc(sizeof *f + capacity);
	if (!f)
		return NULL;
	*f = (struct feed){ .capacity = capacity, .lost_number = number };
	pthread_mutex_init(&f->mu, NULL);
	return f;
}

void feed_free(struct feed *f)
{
	if (!f)
		return;
	pthread_mutex_destroy(&f->mu);
	free(f);
}

static void put(struct feed *f, const void *from, size_t size)
{
	size_t at = (size_t)(f->end % f->capacity), first = f->capacity - at < size ? f->capacity - at : size;
	memcpy(f->data + at, from, first);
	memcpy(f->data, (const char *)from + first, size - first);
	f->end += size;
}

static void get(const struct feed *f, uint64_t place, void *to, size_t size)
{
	size_t at = (size_t)(place % f->capacity), first = f->capacity - at < size ? f->capacity - at : size;
	memcpy(to, f->data + at, first);
	memcpy((char *)to + first, f->data, size - first);
}

static void drop_oldest(struct feed *f)
{
	struct head h;
	get(f, f->begin, &h, sizeof h);
	f->begin += sizeof h + h.size;
	f->lost_number = h.number;
}

void feed_add(struct feed *f, uint64_t number, const char *line, size_t size)
{
	pthread_mutex_lock(&f->mu);
	const struct head h = { number, f->lines++, size };
	if (line && size < f->capacity - sizeof h) {
		while (f->end - f->begin + sizeof h + size > f->capacity)
			drop_oldest(f);
		put(f, &h, sizeof h);
		put(f, line, size);
		f->text += size;
	} else {
		f->begin = f->end;
		f->lost_number = number;
		f->text++; /* there is something to tell */
	}
	pthread_mutex_unlock(&f->mu);
}

void feed_to_end(struct feed *f, struct feed_reader *r)
{
	pthread_mutex_lock(&f->mu);
	*r = (struct feed_reader){ .at = f->end, .line = f->lines };
	pthread_mutex_unlock(&f->mu);
}

/* The lines from the reader's place on, until there are enough. */
static bool take_lines(const struct feed *f, struct feed_reader *r, struct control_text *out)
{
	size_t before = out->size;
	while (r->at < f->end && out->size - before < AT_ONCE) {
		struct head h;
		get(f, r->at, &h, sizeof h);
		uint64_t from = r->at + sizeof h;
		size_t left = (size_t)(f->capacity - from % f->capacity), first = left < h.size ? left : h.size;
		if (!control_text_add(out, f->data + from % f->capacity, first))
			return false;
		if (!control_text_add(out, f->data, h.size - first)) {
			out->size -= first;
			return false;
		}
		r->at = from + h.size;
		r->line = h.line + 1;
	}
	return true;
}

int feed_read(struct feed *f, struct feed_reader *r, struct control_text *out, uint64_t *out_lost, uint64_t *out_number)
{
	pthread_mutex_lock(&f->mu);
	struct head oldest = { .line = f->lines };
	if (r->at < f->begin)
		r->at = f->begin;
	if (r->at < f->end)
		get(f, r->at, &oldest, sizeof oldest);
	*out_lost = oldest.line - r->line;
	*out_number = f->lost_number;
	r->line = oldest.line;
	r->begun = true;
	bool ok = take_lines(f, r, out);
	pthread_mutex_unlock(&f->mu);
	return ok ? 0 : ENOMEM;
}

uint64_t feed_size(struct feed *f)
{
	pthread_mutex_lock(&f->mu);
	uint64_t size = f->text;
	pthread_mutex_unlock(&f->mu);
	return size;
}
