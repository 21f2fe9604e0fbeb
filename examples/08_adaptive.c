/*
 * Tuning while it runs: looks at the figures of the last interval and changes options that may change. A program does the
 * same in a thread of its own every minute or so; here the workload turns from writing to reading and back.
 *
 *     ./08_adaptive DATABASE [RECORDS]
 */
#include "example.h"

struct interval {
	double gets, puts, stalls, hits, lookups;
};

static struct interval look(struct wombat *db)
{
	return (struct interval){
		.gets = figure(db, "gets_total"), .puts = figure(db, "puts_total"), .stalls = figure(db, "stalls.stopped_total"),
		.hits = figure(db, "block_cache.hits"), .lookups = figure(db, "block_cache.hits") + figure(db, "block_cache.misses"),
	};
}

static void change(struct wombat *db, const char *name, const char *value, const char *why)
{
	struct wombat_setting setting = { name, value };
	must(wombat_set(db, &setting, 1), name);
	printf("  %s=%s: %s\n", name, value, why);
}

/* What happened since `last`, and what that asks for. */
static void adapt(struct wombat *db, struct interval *last)
{
	struct interval now = look(db);
	double gets = now.gets - last->gets, puts = now.puts - last->puts, lookups = now.lookups - last->lookups;
	double reads = gets + puts > 0 ? gets / (gets + puts) : 0;
	printf("%.0f gets, %.0f puts: %.0f %% reads\n", gets, puts, 100 * reads);
	if (reads > 0.8) {
		if (lookups > 0 && (now.hits - last->hits) / lookups < 0.9)
			change(db, "block_cache_size", "256M", "blocks are read again that the cache had to drop");
		change(db, "mem_table_size", "8M", "few changes wait; their memory is better spent on blocks");
	} else if (reads < 0.2) {
		change(db, "mem_table_size", "64M", "fewer and larger flushes");
		if (now.stalls > last->stalls)
			change(db, "num_memtables", "8", "writers had to wait");
	}
	*last = now;
}

int main(int argc, char **argv)
{
	char key[32], value[256];
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	if (argc < 2) {
		fprintf(stderr, "usage: 08_adaptive DATABASE [RECORDS]\n");
		return 2;
	}
	unsigned long records = count_of(argc, argv, 2, 100000);
	must(wombat_options_set(o, "block_cache_size", "256K"), "option"); /* too little, to begin with */
	must(wombat_options_set(o, "mem_table_size", "1M"), "option");
	must(wombat_open(argv[1], o, WOMBAT_CREATE, &db), argv[1]);
	wombat_options_free(o);
	struct interval last = look(db);
	for (unsigned phase = 0; phase < 3; phase++) {
		for (unsigned long i = 0; i < records; i++) {
			struct wombat_record r;
			bool writes = phase != 1;
			if (writes) {
				must(wombat_put(db, WOMBAT_USER, scattered_key(i, key), some_value(i + phase, value)), "put");
			} else {
				must(wombat_get(db, NULL, WOMBAT_USER, scattered_key(i * 7919 % records, key), &r), "get");
				wombat_record_release(&r);
			}
		}
		adapt(db, &last);
	}
	must(wombat_close(db), "close");
	return 0;
}
