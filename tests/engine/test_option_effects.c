/*
 * What options do that only shows from outside: rates on a clock that moves when somebody sleeps, sizes of files, system calls,
 * descriptors and maps of the process, pages in the system's cache. The others' effects are in test_db_options.c and with their modules.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/random.h"
#include "tests/support/db_world.h"

#include "tests/support/check.h" /* last: cmocka defines fail() */

#define EVERYTHING WOMBAT_STR(""), WOMBAT_STR("")

/* ---- Rates ----------------------------------------------------------------------------------- */

static atomic_uint_fast64_t virtual_now;

static uint64_t clock_now(struct env *env)
{
	(void)env;
	return atomic_load(&virtual_now);
}

static void clock_sleep(struct env *env, uint64_t ns)
{
	(void)env;
	atomic_fetch_add(&virtual_now, ns);
}

/* One thread at a time sleeps in these tests, so the clock tells what it slept. */
static void world_with_clock(struct db_world *w, struct env_calls *calls, const char *const *settings)
{
	db_world_init(w, settings);
	db_world_close(w);
	*calls = *w->env->calls;
	calls->monotonic_ns = clock_now;
	calls->sleep_ns = clock_sleep;
	w->env->calls = calls;
	atomic_store(&virtual_now, UINT64_C(1000000000000));
	db_world_open(w);
}

static void assert_within(double got, double want, double part)
{
	if (got < want * (1 - part) || got > want * (1 + part))
		fail_msg("%.4g is not within %.0f %% of %.4g", got, part * 100, want);
}

static const char *const unstalled[] = { "num_level_zero_tables", "1000", "num_level_zero_tables_stall", "2000", "num_memtables", "8",
					 "num_compactors", "1", NULL };

/* Small values, values in the log, batches: what comes in is the rate times the time, to 10 %. */
static void test_write_throttle(void **state)
{
	(void)state;
	enum { RATE = 200000, BYTES = 2000000 };
	static const struct { const char *threshold; size_t value; unsigned in_batch; } cases[] = {
		{ "0", 100, 1 }, { "0", 1000, 1 }, { "0", 20000, 1 }, { "4K", 20000, 1 }, { "0", 500, 50 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct db_world w;
		struct env_calls calls;
		static char value[20000];
		uint64_t bytes = 0;
		world_with_clock(&w, &calls, unstalled);
		assert_ok(db_world_set(&w, "value_threshold", cases[i].threshold));
		assert_ok(db_world_set(&w, "write_throttle_bytes_per_sec", "200000"));
		uint64_t begin = clock_now(NULL);
		while (bytes < BYTES) {
			struct wombat_batch *b = wombat_batch_new();
			for (unsigned n = 0; n < cases[i].in_batch; n++) {
				char key[24];
				size_t size = (size_t)snprintf(key, sizeof key, "key%013u", (unsigned)(bytes + n));
				assert_ok(wombat_batch_put(b, WOMBAT_USER, slice_make(key, size), slice_make(value, cases[i].value), NULL));
				bytes += size + cases[i].value;
			}
			assert_ok(wombat_write(w.db, b, 0, NULL));
			wombat_batch_free(b);
		}
		/* A small record has some bytes of its own, which count too. */
		assert_within((double)(clock_now(NULL) - begin) / 1e9, (double)bytes / RATE, cases[i].value < 500 ? 0.25 : 0.1);
		assert_ok(db_world_set(&w, "write_throttle_bytes_per_sec", "0"));
		begin = clock_now(NULL);
		db_world_put_filled(&w, "free", 20000, 1);
		assert_int_equal(clock_now(NULL), begin);
		db_world_done(&w);
	}
}

static void test_compaction_throttle(void **state)
{
	(void)state;
	enum { RATE = 300000 };
	struct db_world w;
	struct env_calls calls;
	world_with_clock(&w, &calls, unstalled);
	assert_ok(db_world_set(&w, "compaction_throttle_bytes_per_sec", "300000"));
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned n = 0; n < 500; n++) {
			char key[16];
			snprintf(key, sizeof key, "key%05u", n * 7 + round);
			db_world_put_filled(&w, key, 1000, n + round);
		}
		assert_ok(wombat_flush(w.db)); /* which it is not for */
	}
	uint64_t begin = clock_now(NULL);
	double written = db_world_stat(&w, "compaction_write_bytes_total");
	assert_ok(wombat_compact(w.db, 0, EVERYTHING));
	written = db_world_stat(&w, "compaction_write_bytes_total") - written;
	assert_true(written > 1500000);
	assert_within((double)(clock_now(NULL) - begin) / 1e9, written / RATE, 0.1);
	assert_within(db_world_stat(&w, "compaction_throttled_ns") / 1e9, written / RATE, 0.1);
	db_world_done(&w);
}

/* ---- Sizes ------------------------------------------------------------------------- */

static double bytes_at_level(struct db_world *w, const char *level)
{
	struct random_state r;
	random_seed(&r, 1);
	assert_ok(wombat_delete_range(w->db, WOMBAT_USER, EVERYTHING));
	assert_ok(wombat_flush(w->db));
	assert_ok(wombat_compact(w->db, 0, EVERYTHING));
	assert_ok(db_world_set(w, "compression_level", level));
	for (unsigned n = 0; n < 300; n++) {
		static const char *const words[] = { "wombat", "burrow", "marsupial", "grass", "night", "pouch", "cube", "den" };
		char key[16], text[1200] = "";
		snprintf(key, sizeof key, "key%03u", n);
		for (size_t at = 0; at + 16 < sizeof text;)
			at += (size_t)snprintf(text + at, sizeof text - at, "%s%u ", words[random_below(&r, 8)],
					       (unsigned)random_below(&r, 40));
		db_world_put(w, key, text);
	}
	assert_ok(wombat_compact(w->db, 0, EVERYTHING));
	return db_world_stat(w, "disk.tables_bytes");
}

static void test_compression_level(void **state)
{
	(void)state;
	struct db_world w;
	db_world_init(&w, (const char *const[]){ "compression", "zlib", "block_size", "16K", "mem_table_size", "4M", NULL });
	double quick = bytes_at_level(&w, "1"), thorough = bytes_at_level(&w, "9");
	assert_true(thorough > 0 && thorough < 0.97 * quick);
	assert_within(bytes_at_level(&w, "1"), quick, 0.01); /* not quite the same: records have times */
	db_world_done(&w);
}

static void test_table_size(void **state)
{
	(void)state;
	unsigned files[2];
	for (unsigned i = 0; i < 2; i++) {
		struct db_world w;
		db_world_init(&w, (const char *const[]){ "max_table_size", i ? "64K" : "64M", "mem_table_size", "4M", NULL });
		for (unsigned n = 0; n < 1000; n++) {
			char key[16];
			snprintf(key, sizeof key, "key%04u", n);
			db_world_put_filled(&w, key, 1000, n);
		}
		assert_ok(wombat_compact(w.db, 0, EVERYTHING));
		assert_ok(wombat_wait_idle(w.db));
		files[i] = db_world_files(&w, FILE_TABLE, NULL);
		db_world_done(&w);
	}
	assert_int_equal(files[0], 1);
	assert_in_range(files[1], 14, 18); /* a million bytes by 65,536 */
}

/* A shard's share must be as large as what it is to keep. */
static void test_cache_shards(void **state)
{
	(void)state;
	double hits[2];
	for (unsigned i = 0; i < 2; i++) {
		struct db_world w;
		db_world_init(&w, (const char *const[]){ "block_cache_size", "128K", "cache_shards", i ? "64" : "1", "block_size", "8K", NULL });
		for (unsigned n = 0; n < 40; n++) {
			char key[16];
			snprintf(key, sizeof key, "key%03u", n);
			db_world_put_filled(&w, key, 1000, n);
		}
		assert_ok(wombat_flush(w.db));
		for (unsigned round = 0; round < 2; round++)
			for (unsigned n = 0; n < 40; n += 8) {
				char key[16];
				snprintf(key, sizeof key, "key%03u", n);
				db_world_expect_filled(&w, key, 1000, n);
			}
		hits[i] = db_world_stat(&w, "block_cache.hits");
		db_world_done(&w);
	}
	assert_true(hits[0] >= 5 && hits[1] == 0);
}

/* ---- On a real file system ------------------------------------------------------------------- */

static struct real {
	char dir[256]; /* empty: there is none */
	struct wombat *db;
} real;

static void real_open(struct real *r, const char *const *settings)
{
	struct wombat_options *o = wombat_options_new();
	assert_non_null(o);
	for (const char *const *s = settings; *s; s += 2)
		assert_ok(wombat_options_set(o, s[0], s[1]));
	const char *tmp = getenv("TMPDIR");
	if (!r->dir[0]) {
		snprintf(r->dir, sizeof r->dir, "%s/wombat-effects.XXXXXX", tmp ? tmp : "/tmp");
		assert_non_null(mkdtemp(r->dir));
	}
	assert_ok(wombat_open(r->dir, o, WOMBAT_CREATE, &r->db));
	wombat_options_free(o);
}

/* Each table of the database. */
static void each_table(const struct real *r, void (*each)(void *arg, const char *path), void *arg)
{
	DIR *d = opendir(r->dir);
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d)) != NULL;) {
		char path[600];
		snprintf(path, sizeof path, "%s/%s", r->dir, e->d_name);
		if (strstr(e->d_name, ".sst"))
			each(arg, path);
	}
	closedir(d);
}

static void real_done(struct real *r)
{
	enum wombat_status s = wombat_close(r->db);
	DIR *d = opendir(r->dir);
	for (const struct dirent *e; d && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	int left = rmdir(r->dir);
	*r = (struct real){ .db = NULL };
	assert_ok(s);
	assert_int_equal(left, 0);
}

/* Also after a failure nothing is left. */
static int real_teardown(void **state)
{
	(void)state;
	if (real.dir[0])
		real_done(&real);
	return 0;
}

static void real_fill(struct real *r, unsigned count)
{
	static char value[1000];
	memset(value, 'v', sizeof value);
	for (unsigned n = 0; n < count; n++) {
		char key[16];
		assert_ok(wombat_put(r->db, WOMBAT_USER, slice_make(key, (size_t)snprintf(key, sizeof key, "key%06u", n)),
				     slice_make(value, sizeof value)));
	}
}

static void real_read(const struct real *r, unsigned count, unsigned step)
{
	for (unsigned n = 0; n < count; n += step) {
		char key[16];
		struct wombat_record record;
		assert_ok(wombat_get(r->db, NULL, WOMBAT_USER, slice_make(key, (size_t)snprintf(key, sizeof key, "key%06u", n)), &record));
		assert_int_equal(record.value.size, 1000);
		wombat_record_release(&record);
	}
}

/* Pages of the tables that are in the system's cache, of all they have. */
struct pages {
	size_t resident, all;
};

static void count_pages(void *arg, const char *path)
{
	struct pages *p = arg;
	struct stat st;
	static unsigned char here[1 << 16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	size_t count = ((size_t)st.st_size + 4095) / 4096;
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED && count <= sizeof here);
	assert_int_equal(mincore(map, (size_t)st.st_size, here), 0);
	for (size_t i = 0; i < count; i++)
		p->resident += here[i] & 1;
	p->all += count;
	munmap(map, (size_t)st.st_size);
	close(fd);
}

static void drop_pages(void *arg, const char *path)
{
	(void)arg;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

static double resident_part(const struct real *r)
{
	struct pages p = { 0, 0 };
	each_table(r, count_pages, &p);
	assert_true(p.all > 100);
	return (double)p.resident / (double)p.all;
}

/* Lines of a file of /proc/self that name a table of the database. */
static unsigned maps_of_tables(const struct real *r)
{
	char line[800];
	unsigned count = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		count += strstr(line, r->dir) && strstr(line, ".sst");
	fclose(f);
	return count;
}

static unsigned descriptors_of_tables(const struct real *r)
{
	unsigned count = 0;
	DIR *d = opendir("/proc/self/fd");
	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d)) != NULL;) {
		char target[600];
		ssize_t size = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
		target[size < 0 ? 0 : size] = 0;
		count += strstr(target, r->dir) && strstr(target, ".sst");
	}
	closedir(d);
	return count;
}

static bool has_direct_io(const char *dir)
{
	char path[300];
	snprintf(path, sizeof path, "%s/probe", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	unlink(path);
	return fd >= 0;
}

/* Calls of write(2) and its like by the thread that flushes: others make segments of the log meanwhile. False: not to be known. */
static bool write_calls_of_flusher(unsigned long *out)
{
	bool found = false;
	DIR *d = opendir("/proc/self/task");
	assert_non_null(d);
	for (const struct dirent *e; !found && (e = readdir(d)) != NULL;) {
		char path[300], line[100] = "";
		snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
		FILE *f = fopen(path, "re");
		bool is_it = f && fgets(line, sizeof line, f) && strcmp(line, "wombat-flush\n") == 0;
		if (f)
			fclose(f);
		snprintf(path, sizeof path, "/proc/self/task/%s/io", e->d_name);
		f = is_it ? fopen(path, "re") : NULL;
		while (f && !found && fgets(line, sizeof line, f))
			found = sscanf(line, "syscw: %lu", out) == 1;
		if (f)
			fclose(f);
	}
	closedir(d);
	return found;
}

static unsigned long write_calls(void)
{
	unsigned long calls = 0;
	if (!write_calls_of_flusher(&calls))
		skip(); /* a kernel without these counts */
	return calls;
}

static unsigned long writes_of_a_flush(struct real *r, const char *buffer)
{
	struct wombat_setting size = { "write_buffer_size", buffer };
	assert_ok(wombat_set(r->db, &size, 1));
	real_fill(r, 200);
	unsigned long before = write_calls();
	assert_ok(wombat_flush(r->db));
	return write_calls() - before;
}

static void test_write_buffer(void **state)
{
	(void)state;
	real_open(&real, (const char *const[]){ "value_threshold", "0", "num_level_zero_tables", "100", "num_level_zero_tables_stall", "200", NULL });
	writes_of_a_flush(&real, "64M"); /* with what only the first has to write */
	unsigned long few = writes_of_a_flush(&real, "64M"), many = writes_of_a_flush(&real, "4K"), some = writes_of_a_flush(&real, "32K");
	print_message("%lu, %lu and %lu writes\n", few, some, many);
	/* 200 KB, by 4 KiB and by 32. */
	assert_true(few < some && some < many && many - few >= 40 && some - few >= 4);
	real_done(&real);
}

/* direct_io keeps what is written out of the page cache, and what is read, unless a map serves that. */
static void test_maps_and_direct_io(void **state)
{
	(void)state;
	enum { COUNT = 3000 };
	for (unsigned i = 0; i < 4; i++) {
		bool map = i & 1, direct = i & 2;
		real_open(&real, (const char *const[]){ "use_mmap", map ? "true" : "false", "direct_io", direct ? "true" : "false",
						     "block_cache_size", "0", "value_threshold", "0", NULL });
		if (!has_direct_io(real.dir)) {
			real_done(&real);
			print_message("the file system has no O_DIRECT\n");
			skip();
		}
		real_fill(&real, COUNT);
		assert_ok(wombat_compact(real.db, 0, EVERYTHING));
		assert_ok(wombat_wait_idle(real.db));
		double written = resident_part(&real);
		assert_true(direct ? written < 0.1 : written > 0.9);
		each_table(&real, drop_pages, NULL);
		assert_true(resident_part(&real) < 0.1);
		real_read(&real, COUNT, 3);
		assert_int_equal(maps_of_tables(&real) > 0, map);
		double read = resident_part(&real);
		assert_true(direct && !map ? read < 0.1 : read > 0.5);
		real_done(&real);
	}
}

/* Ten times as many tables as may be open: all can be read, and no more are open at a time. */
static void test_open_files(void **state)
{
	(void)state;
	enum { LIMIT = 16, COUNT = 11000 };
	struct pages p = { 0, 0 };
	double open;
	real_open(&real, (const char *const[]){ "max_open_files", "16", "max_table_size", "64K", "value_threshold", "0", "block_cache_size", "64K",
					     NULL });
	real_fill(&real, COUNT);
	assert_ok(wombat_compact(real.db, 0, EVERYTHING));
	assert_ok(wombat_wait_idle(real.db));
	each_table(&real, count_pages, &p);
	assert_true(p.all * 4096 > (size_t)LIMIT * 10 * 65536);
	unsigned most = 0;
	for (unsigned from = 0; from < 500; from += 50) {
		real_read(&real, COUNT, 501 + from);
		unsigned now = descriptors_of_tables(&real);
		most = now > most ? now : most;
		assert_ok(wombat_stat(real.db, "table_cache.open", &open));
		assert_true(open <= LIMIT);
	}
	assert_true(most > LIMIT / 2 && most <= LIMIT);
	/* More, while open. */
	struct wombat_setting more = { "max_open_files", "100" };
	assert_ok(wombat_set(real.db, &more, 1));
	real_read(&real, COUNT, 50);
	assert_ok(wombat_stat(real.db, "table_cache.open", &open));
	assert_true(open > 90 && open <= 100);
	real_done(&real);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_throttle),
		cmocka_unit_test(test_compaction_throttle),
		cmocka_unit_test(test_compression_level),
		cmocka_unit_test(test_table_size),
		cmocka_unit_test(test_cache_shards),
		cmocka_unit_test_teardown(test_write_buffer, real_teardown),
		cmocka_unit_test_teardown(test_maps_and_direct_io, real_teardown),
		cmocka_unit_test_teardown(test_open_files, real_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
