/*
 * Set-ups for workloads and machines: which options, and what each is for. Opens a database with one of them, puts and
 * gets some records, and prints the figures that show what the options did.
 *
 *     ./05_setups DATABASE SETUP [RECORDS]
 *
 * The sizes are those of real servers; nothing is allocated before it is needed, so they run on a small machine too.
 */
#include "example.h"

struct setting {
	const char *name, *value;
};

/* A NULL name ends each list. */
static const struct {
	const char *name, *preset;
	struct setting settings[12];
} setups[] = {
	/* Few, large flushes; room for bursts; compaction in parallel, and not faster than the disk can bear. */
	{ "write-heavy", "default", {
		{ "mem_table_size", "256M" }, { "num_memtables", "8" }, { "sync_writes", "false" }, { "num_compactors", "8" },
		{ "compression", "zlib" }, { "compression_level", "3" }, { "compaction_throttle_bytes_per_sec", "200M" } } },
	/* Memory for what is read again, few tables to ask, and scans that ask the disk early. */
	{ "read-heavy", "default", {
		{ "block_cache_size", "1G" }, { "table_cache_size", "512M" }, { "filter_cache_size", "128M" },
		{ "enable_prefetch", "true" }, { "prefetch_distance", "16" }, { "max_table_size", "256M" },
		{ "read_ahead_size", "2M" } } },
	/* Something of both, and every write durable. */
	{ "mixed", "default", {
		{ "mem_table_size", "128M" }, { "num_memtables", "5" }, { "sync_writes", "true" }, { "num_compactors", "4" },
		{ "compression", "zlib" }, { "compression_level", "6" }, { "block_cache_size", "256M" },
		{ "table_cache_size", "128M" } } },
	/* A disk that takes many requests at once: our cache instead of the kernel's, large buffers, a high limit. */
	{ "ssd", "default", {
		{ "direct_io", "true" }, { "max_open_files", "2000" }, { "read_ahead_size", "4M" }, { "write_buffer_size", "8M" },
		{ "compaction_throttle_bytes_per_sec", "500M" } } },
	/* A disk that seeks: the kernel's cache helps, and compaction leaves time for reads. */
	{ "hdd", "default", {
		{ "direct_io", "false" }, { "use_mmap", "false" }, { "max_open_files", "100" }, { "read_ahead_size", "256K" },
		{ "write_buffer_size", "1M" }, { "compaction_throttle_bytes_per_sec", "50M" } } },
	{ "large-memory", "high_performance", {
		{ "mem_table_size", "1G" }, { "num_memtables", "16" }, { "block_cache_size", "4G" }, { "table_cache_size", "2G" },
		{ "filter_cache_size", "1G" }, { "enable_cache_compression", "false" }, { "num_compactors", "16" } } },
	/* Blocks stay packed in the cache: more of them for the same memory, at the price of unpacking. */
	{ "small-memory", "memory_optimized", {
		{ "mem_table_size", "8M" }, { "num_memtables", "2" }, { "block_cache_size", "16M" }, { "table_cache_size", "8M" },
		{ "filter_cache_size", "4M" }, { "enable_cache_compression", "true" }, { "num_compactors", "1" } } },
};
enum { SETUPS = sizeof setups / sizeof setups[0] };

static struct wombat *open_with(const char *dir, size_t setup)
{
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	if (!o)
		must(WOMBAT_NO_MEMORY, "options");
	must(wombat_options_preset(o, setups[setup].preset), "preset");
	for (const struct setting *s = setups[setup].settings; s->name; s++)
		must(wombat_options_set(o, s->name, s->value), "option");
	must(wombat_open(dir, o, WOMBAT_CREATE, &db), dir);
	wombat_options_free(o);
	return db;
}

static void work(struct wombat *db, unsigned long records)
{
	char key[32], value[256];
	for (unsigned long i = 0; i < records; i++)
		must(wombat_put(db, WOMBAT_USER, scattered_key(i, key), some_value(i, value)), "put");
	must(wombat_flush(db), "flush");
	for (unsigned round = 0; round < 2; round++)
		for (unsigned long i = 0; i < records; i++) {
			struct wombat_record r;
			must(wombat_get(db, NULL, WOMBAT_USER, scattered_key(i, key), &r), "get");
			wombat_record_release(&r);
		}
}

int main(int argc, char **argv)
{
	static const char *const shown[] = {
		"flushes_total", "wal.syncs_total", "disk.tables_bytes", "cache_hit_ratio", "packed_cache.entries", "table_cache.open",
		"filter_cache.hit_ratio", "memory_usage_bytes", "write_amplification", "stalls.stopped_total",
	};
	size_t setup = 0;
	while (argc > 2 && setup < SETUPS && strcmp(argv[2], setups[setup].name) != 0)
		setup++;
	if (argc < 3 || setup == SETUPS) {
		fprintf(stderr, "usage: 05_setups DATABASE SETUP [RECORDS]; a set-up is one of:");
		for (size_t i = 0; i < SETUPS; i++)
			fprintf(stderr, " %s", setups[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	struct wombat *db = open_with(argv[1], setup);
	work(db, count_of(argc, argv, 3, 100000));
	printf("%s:\n", setups[setup].name);
	for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
		printf("  %-24s %.6g\n", shown[i], figure(db, shown[i]));
	must(wombat_close(db), "close");
	return 0;
}
