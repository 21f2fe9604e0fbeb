/*
 * Keys that begin with the time, as of a log or measurements: they arrive in order, so tables never overlap and are moved
 * down instead of rewritten, and "what happened in that minute" is one short scan. Beside it the same records under keys
 * in no order.
 *
 *     ./06_sequential_keys DIRECTORY [RECORDS]
 */
#include <sys/stat.h>

#include "example.h"

/* Zero-padded, so that keys sort as times do; the source behind it makes records of one moment different keys. */
static struct wombat_slice log_key(unsigned long ms, unsigned source, char out[48])
{
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 48, "log/%013lu/%02u", ms, source));
}

static struct wombat *fresh(const char *parent, const char *name)
{
	char dir[512];
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	snprintf(dir, sizeof dir, "%s/%s", parent, name);
	must(wombat_options_set(o, "mem_table_size", "1M"), "option"); /* little, so that few records show it */
	must(wombat_options_set(o, "max_table_size", "1M"), "option");
	must(wombat_open(dir, o, WOMBAT_CREATE, &db), dir);
	wombat_options_free(o);
	return db;
}

static void report(const char *what, struct wombat *db)
{
	must(wombat_flush(db), "flush");
	must(wombat_wait_idle(db), "wait");
	printf("%-12s compactions rewrote %.0f bytes, %.0f tables moved as they were, write amplification %.2f\n", what,
	       figure(db, "compaction_write_bytes_total"), figure(db, "trivial_moves_total"), figure(db, "write_amplification"));
}

int main(int argc, char **argv)
{
	char key[48], from[48], to[48], value[256];
	if (argc < 2) {
		fprintf(stderr, "usage: 06_sequential_keys DIRECTORY [RECORDS]\n");
		return 2;
	}
	unsigned long records = count_of(argc, argv, 2, 100000), found = 0;
	mkdir(argv[1], 0777);
	struct wombat *in_order = fresh(argv[1], "in-order"), *in_none = fresh(argv[1], "in-no-order");
	for (unsigned long i = 0; i < records; i++) {
		must(wombat_put(in_order, WOMBAT_USER, log_key(1000000 + i, (unsigned)(i % 7), key), some_value(i, value)), "put");
		must(wombat_put(in_none, WOMBAT_USER, scattered_key(i, key), some_value(i, value)), "put");
	}
	report("in order", in_order);
	report("in no order", in_none);

	/* A second of the log: from its first key to the first key behind it. */
	struct wombat_iter *it;
	struct wombat_iter_options second = { .lower = log_key(1000000 + records / 2, 0, from),
					      .upper = log_key(1000000 + records / 2 + 1000, 0, to) };
	must(wombat_iter_new(in_order, &second, WOMBAT_USER, &it), "scan");
	for (bool there = wombat_iter_first(it); there; there = wombat_iter_next(it))
		found++;
	must(wombat_iter_status(it), "scan");
	wombat_iter_free(it);
	printf("one second of the log: %lu records\n", found);
	must(wombat_close(in_order), "close");
	must(wombat_close(in_none), "close");
	return 0;
}
