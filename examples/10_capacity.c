/*
 * Capacity planning: writes a sample of the records that are to come, measures what they take, and says what a year of
 * them wants in disk and memory.
 *
 *     ./10_capacity DATABASE [RECORDS_A_DAY [SAMPLE]]
 */
#include "example.h"

enum { DAYS = 365 };

int main(int argc, char **argv)
{
	char key[32], value[256];
	struct wombat *db;
	uint64_t keys, bytes, user = 0;
	if (argc < 2) {
		fprintf(stderr, "usage: 10_capacity DATABASE [RECORDS_A_DAY [SAMPLE]]\n");
		return 2;
	}
	double a_day = (double)count_of(argc, argv, 2, 1000000);
	unsigned long sample = count_of(argc, argv, 3, 100000);
	must(wombat_open(argv[1], NULL, WOMBAT_CREATE, &db), argv[1]);
	for (unsigned long i = 0; i < sample; i++) {
		struct wombat_slice k = scattered_key(i, key), v = some_value(i, value);
		user += k.size + v.size;
		must(wombat_put(db, WOMBAT_USER, k, v), "put");
	}
	must(wombat_flush(db), "flush");
	must(wombat_compact(db, 0, WOMBAT_STR(""), WOMBAT_STR("")), "compact");
	must(wombat_estimate(db, WOMBAT_USER, WOMBAT_STR(""), WOMBAT_STR(""), &keys, &bytes), "estimate");
	struct wombat_record r;
	must(wombat_get(db, NULL, WOMBAT_USER, scattered_key(0, key), &r), "get"); /* which opens a table */
	wombat_record_release(&r);

	double records = a_day * DAYS, per_record = (double)bytes / (double)keys;
	double index = figure(db, "table_cache.bytes") / (figure(db, "table_cache.open") ? figure(db, "table_cache.open") : 1) *
		       (figure(db, "level.0.files") + figure(db, "level.1.files") + figure(db, "level.2.files"));
	/* While a level is compacted its old and new tables are both there; overwritten records wait for theirs. */
	double headroom = 1.25;
	printf("sample:  %llu records of %.1f bytes take %.1f bytes each on disk\n", (unsigned long long)keys,
	       (double)user / (double)sample, per_record);
	printf("a year:  %.3g records\n", records);
	printf("disk:    %.1f GiB, and a quarter of it as room for compaction: %.1f GiB\n", records * per_record / (1 << 30),
	       records * per_record * headroom / (1 << 30));
	printf("indexes: %.2f GiB of table_cache_size to keep all tables open\n", records * index / (double)keys / (1 << 30));
	printf("filters: %.2f GiB of filter_cache_size to keep all filters in memory\n", records * 1.25 / (1 << 30));
	must(wombat_close(db), "close");
	return 0;
}
