/*
 * Loading much: the preset for it, changes in batches of 1,000, one sync at the end; or, when the keys come sorted, an
 * ingestion. Prints how fast that was beside single puts, and beside batches of which each is durable.
 *
 *     ./07_bulk_load DIRECTORY [RECORDS]
 */
#include <sys/stat.h>

#include "example.h"

enum { BATCH = 1000 };

/* Puts records in batches; returns how many a second. */
static double load(const char *parent, const char *name, const char *preset, unsigned long records, unsigned long batch_size,
		   unsigned flags)
{
	char dir[512], key[32], value[256];
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	struct wombat_batch *batch = wombat_batch_new();
	snprintf(dir, sizeof dir, "%s/%s", parent, name);
	must(wombat_options_preset(o, preset), "preset");
	must(wombat_open(dir, o, WOMBAT_CREATE, &db), dir);
	wombat_options_free(o);
	double begin = seconds();
	for (unsigned long i = 0; i < records; i++) {
		must(wombat_batch_put(batch, WOMBAT_USER, scattered_key(i, key), some_value(i, value), NULL), "put");
		if (wombat_batch_count(batch) == batch_size || i + 1 == records) {
			must(wombat_write(db, batch, flags, NULL), "write");
			wombat_batch_clear(batch);
		}
	}
	must(wombat_sync(db), "sync"); /* from here on a power cut takes nothing */
	double rate = (double)records / (seconds() - begin);
	printf("%-22s %9.0f records/s, %6.0f log records, %4.0f syncs\n", name, rate, figure(db, "write_groups_total"),
	       figure(db, "wal.syncs_total"));
	wombat_batch_free(batch);
	must(wombat_close(db), "close");
	return rate;
}

/* The same number of records in order, as tables. */
static void ingest(const char *parent, unsigned long records)
{
	char dir[512], key[32], value[256];
	struct wombat *db;
	struct wombat_ingest *g;
	snprintf(dir, sizeof dir, "%s/ingested", parent);
	must(wombat_open(dir, NULL, WOMBAT_CREATE, &db), dir);
	double begin = seconds();
	must(wombat_ingest_new(db, &g), "ingestion");
	for (unsigned long i = 0; i < records; i++) {
		int size = snprintf(key, sizeof key, "user%012lu", i);
		must(wombat_ingest_put(g, WOMBAT_USER, WOMBAT_SLICE(key, (size_t)size), some_value(i, value), NULL), "put");
	}
	must(wombat_ingest_commit(g, NULL), "commit"); /* visible and durable */
	wombat_ingest_free(g);
	printf("%-22s %9.0f records/s, %6.0f log records, %4.0f tables\n", "ingested", (double)records / (seconds() - begin),
	       figure(db, "write_groups_total"), figure(db, "ingested_tables_total"));
	must(wombat_close(db), "close");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: 07_bulk_load DIRECTORY [RECORDS]\n");
		return 2;
	}
	unsigned long records = count_of(argc, argv, 2, 200000);
	mkdir(argv[1], 0777);
	load(argv[1], "one-by-one", "default", records, 1, 0);
	load(argv[1], "durable-batches", "default", records, BATCH, WOMBAT_SYNC);
	load(argv[1], "bulk-load", "bulk_load", records, BATCH, 0);
	ingest(argv[1], records);
	return 0;
}
