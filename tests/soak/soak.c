/*
 * A soak: hours of mixed work with kills and reopenings, everything checked all the time.
 *
 *     soak [-s SECONDS] [-t THREADS] [-k KEYS_PER_THREAD] DIRECTORY          WOMBAT_SEED repeats the choices
 *
 * A child process works on the database, in several threads of which each has keys of its own, beside one that changes
 * options, compacts, checks, and makes checkpoints. The parent kills it at random moments (kill -9) and starts the next,
 * whose first task is to look at every key. What was acknowledged and what was begun stands in memory that both share:
 *
 *     begun[key]   the version that is being written
 *     acked[key]   the last one whose call returned
 *
 * A key may hold either, whole, or be absent when such a version was a deletion; batches and transactions change several
 * keys to one version, all or none. So nothing that a call acknowledged may be gone when the process dies, and nothing may
 * come back. At the end it prints what was done, and how memory and files went; the exit status is 0 when all held.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/random.h"
#include "engine/wombat.h"
#include "tests/support/seed.h"

enum { THREADS_MAX = 16, GROUP = 4, LARGE = 40000, SMALL = 300, KINDS = 8 };

enum kind { PUT, LARGE_PUT, DELETE, BATCH, TXN, GET, SCAN, SNAPSHOT };
static const char *const kind_names[KINDS] = { "puts", "large puts", "deletes", "batches", "transactions", "gets", "scans",
					       "snapshots" };

/* Of one key; shared by parent and children. A version is odd when it deletes the key; 0: never written. */
struct key_state {
	atomic_uint begun, acked;
};

/* What a thread changes at once; `active` while the call runs. */
struct group {
	atomic_bool active;
	unsigned keys[GROUP], versions[GROUP];
};

struct shared {
	struct group groups[THREADS_MAX];
	atomic_uint_fast64_t done[KINDS], worst_ns[KINDS];
	atomic_uint_fast64_t option_changes, checkpoints, compactions, conflicts;
	atomic_bool failed;
	char failure[512];
	struct key_state keys[];
};

static struct shared *shared;
static unsigned threads = 4, keys_each = 5000;
static const char *directory;
static char database[4096], copy[4200];

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Of the child: tells the parent, and ends. */
static _Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void give_up(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(shared->failure, sizeof shared->failure, format, arguments);
	va_end(arguments);
	atomic_store(&shared->failed, true);
	_exit(1);
}

static void must(enum wombat_status s, const char *what)
{
	if (s != WOMBAT_OK)
		give_up("%s: %s (%s)", what, wombat_last_error(), wombat_status_name(s));
}

/* ---- Keys and values ------------------------------------------------------------------------- */

static struct wombat_slice key_of(unsigned key, char out[32])
{
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 32, "t%02u/%03u/%06u", key / keys_each, key % 97, key));
}

static unsigned key_number(struct wombat_slice key)
{
	char text[32] = "";
	if (key.size < 8 || key.size >= sizeof text)
		give_up("there is a key of %zu bytes", key.size);
	memcpy(text, key.data, key.size);
	return (unsigned)strtoul(text + 8, NULL, 10);
}

static bool deletes(unsigned version)
{
	return version & 1;
}

static size_t size_of(unsigned key, unsigned version)
{
	struct random_state r;
	random_seed(&r, (uint64_t)key << 32 | version);
	return version % 64 == 2 ? LARGE / 2 + random_below(&r, LARGE) : 8 + random_below(&r, SMALL);
}

/* Bytes that follow from key and version alone. */
static struct wombat_slice value_of(unsigned key, unsigned version, uint8_t *out)
{
	size_t size = size_of(key, version);
	memcpy(out, &key, 4);
	memcpy(out + 4, &version, 4);
	for (size_t i = 8; i < size; i++)
		out[i] = (uint8_t)(key * 31 + version * 7 + i);
	return WOMBAT_SLICE(out, size);
}

/* The version that a record has, if it is one of that key. */
static unsigned version_in(unsigned key, const struct wombat_record *r)
{
	uint8_t expected[LARGE * 2];
	unsigned version, of;
	if (r->value.size < 8)
		give_up("key %u holds %zu bytes", key, r->value.size);
	memcpy(&of, r->value.data, 4);
	memcpy(&version, r->value.data + 4, 4);
	struct wombat_slice v = value_of(key, version, expected);
	if (of != key || v.size != r->value.size || memcmp(v.data, r->value.data, v.size) != 0)
		give_up("key %u holds bytes that nobody wrote (version %u)", key, version);
	return version;
}

/* That what was found is what may be there: the acknowledged version, or the one that was begun. */
static void judge(unsigned key, bool there, unsigned version)
{
	unsigned acked = atomic_load(&shared->keys[key].acked), begun = atomic_load(&shared->keys[key].begun);
	bool absent_allowed = acked == 0 || deletes(acked) || deletes(begun);
	if (!there && !absent_allowed)
		give_up("key %u is gone: version %u was acknowledged", key, acked);
	if (there && (deletes(version) || (version != acked && version != begun)))
		give_up("key %u holds version %u; %u was acknowledged, %u begun", key, version, acked, begun);
}

/* ---- Work ------------------------------------------------------------------------------------ */

struct worker {
	struct wombat *db;
	unsigned first; /* key */
	struct random_state r;
	pthread_t id;
	uint8_t *value; /* GROUP of them */
	struct wombat_snapshot *snapshot;
	unsigned snapshot_key, snapshot_version;
	bool snapshot_there;
};

static unsigned random_key(struct worker *w)
{
	return w->first + (unsigned)random_below(&w->r, keys_each);
}

/* The next version of a key, odd to delete it. Large ones are those that give 2 modulo 64. */
static unsigned next_version(unsigned key, bool delete, bool large)
{
	unsigned v = atomic_load(&shared->keys[key].acked) + 1;
	while (deletes(v) != delete || (large && v % 64 != 2) || (!large && !delete && v % 64 == 2))
		v++;
	return v;
}

static void change_one(struct worker *w, enum kind kind)
{
	char text[32];
	unsigned key = random_key(w), version = next_version(key, kind == DELETE, kind == LARGE_PUT);
	atomic_store(&shared->keys[key].begun, version);
	if (kind == DELETE)
		must(wombat_delete(w->db, WOMBAT_USER, key_of(key, text)), "delete");
	else
		must(wombat_put(w->db, WOMBAT_USER, key_of(key, text), value_of(key, version, w->value)), "put");
	atomic_store(&shared->keys[key].acked, version);
}

/* Several keys at once, to versions that they alone have. */
static void change_many(struct worker *w, enum kind kind)
{
	unsigned keys[GROUP], versions[GROUP];
	char text[32];
	struct wombat_batch *batch = NULL;
	struct wombat_txn *txn = NULL;
	if (kind == BATCH && !(batch = wombat_batch_new()))
		give_up("out of memory");
	if (kind == TXN)
		must(wombat_txn_begin(w->db, random_below(&w->r, 2) ? WOMBAT_SERIALIZABLE : 0, &txn), "begin");
	for (unsigned i = 0; i < GROUP; i++) {
		keys[i] = w->first + (unsigned)random_below(&w->r, keys_each / GROUP) * GROUP + i;
		versions[i] = next_version(keys[i], i == 0 && random_below(&w->r, 3) == 0, false);
		atomic_store(&shared->keys[keys[i]].begun, versions[i]);
	}
	for (unsigned i = 0; i < GROUP; i++) {
		struct wombat_slice k = key_of(keys[i], text), v = value_of(keys[i], versions[i], w->value + i * 2 * LARGE);
		enum wombat_status s;
		if (batch)
			s = deletes(versions[i]) ? wombat_batch_delete(batch, WOMBAT_USER, k) : wombat_batch_put(batch, WOMBAT_USER, k, v, NULL);
		else
			s = deletes(versions[i]) ? wombat_txn_delete(txn, WOMBAT_USER, k) : wombat_txn_put(txn, WOMBAT_USER, k, v, NULL);
		must(s, "change");
	}
	unsigned flags = random_below(&w->r, 50) == 0 ? WOMBAT_SYNC : 0;
	struct group *group = &shared->groups[w->first / keys_each];
	memcpy(group->keys, keys, sizeof keys);
	memcpy(group->versions, versions, sizeof versions);
	atomic_store(&group->active, true);
	must(batch ? wombat_write(w->db, batch, flags, NULL) : wombat_txn_commit(txn, flags, NULL), "commit");
	wombat_batch_free(batch);
	for (unsigned i = 0; i < GROUP; i++)
		atomic_store(&shared->keys[keys[i]].acked, versions[i]);
	atomic_store(&group->active, false);
}

/* What a key holds, at a snapshot or now; 0: it is absent. */
static unsigned read_version(struct wombat *db, unsigned key, const struct wombat_snapshot *snapshot)
{
	struct wombat_record r;
	char text[32];
	struct wombat_read_options options = { .snapshot = snapshot };
	enum wombat_status s = wombat_get(db, &options, WOMBAT_USER, key_of(key, text), &r);
	if (s == WOMBAT_NOT_FOUND)
		return 0;
	must(s, "get");
	unsigned version = version_in(key, &r);
	wombat_record_release(&r);
	return version;
}

static void check_key(struct wombat *db, unsigned key)
{
	unsigned version = read_version(db, key, NULL);
	judge(key, version != 0, version);
}

/* A few keys of its own, in order, each as a get finds it. */
static void scan(struct worker *w)
{
	struct wombat_iter *it;
	char text[32];
	unsigned n = 0;
	must(wombat_iter_new(w->db, NULL, WOMBAT_USER, &it), "scan");
	for (bool on = wombat_iter_seek(it, key_of(random_key(w), text)); on && n < 50; on = wombat_iter_next(it), n++) {
		const struct wombat_record *r = wombat_iter_record(it);
		unsigned key = key_number(r->key);
		if (key / keys_each != w->first / keys_each)
			break; /* another's, who may be writing it */
		judge(key, true, version_in(key, r));
	}
	must(wombat_iter_status(it), "scan");
	wombat_iter_free(it);
}

/* A snapshot kept for a while shows what it showed at first. */
static void use_snapshot(struct worker *w)
{
	if (!w->snapshot) {
		w->snapshot = wombat_snapshot_new(w->db);
		w->snapshot_key = random_key(w);
		w->snapshot_version = read_version(w->db, w->snapshot_key, w->snapshot);
		return;
	}
	unsigned version = read_version(w->db, w->snapshot_key, w->snapshot);
	if (version != w->snapshot_version)
		give_up("a snapshot showed version %u of key %u, and now %u", w->snapshot_version, w->snapshot_key, version);
	if (random_below(&w->r, 10) == 0) {
		wombat_snapshot_release(w->db, w->snapshot);
		w->snapshot = NULL;
	}
}

static void *work(void *arg)
{
	static const enum kind mix[] = { PUT, PUT, PUT, PUT, PUT, PUT, LARGE_PUT, DELETE, DELETE, BATCH, BATCH, TXN, GET, GET, GET, GET,
					 GET, GET, SCAN, SNAPSHOT };
	struct worker *w = arg;
	for (;;) {
		enum kind kind = mix[random_below(&w->r, sizeof mix / sizeof mix[0])];
		uint64_t begin = now_ns();
		switch (kind) {
		case PUT:
		case LARGE_PUT:
		case DELETE:
			change_one(w, kind);
			break;
		case BATCH:
		case TXN:
			change_many(w, kind);
			break;
		case GET:
			check_key(w->db, random_key(w));
			break;
		case SCAN:
			scan(w);
			break;
		case SNAPSHOT:
			use_snapshot(w);
			break;
		}
		uint64_t ns = now_ns() - begin, worst = atomic_load(&shared->worst_ns[kind]);
		while (ns > worst && !atomic_compare_exchange_weak(&shared->worst_ns[kind], &worst, ns))
			continue;
		atomic_fetch_add(&shared->done[kind], 1);
	}
	return NULL;
}

/* ---- What goes on beside --------------------------------------------------------------------- */

static void remove_copy(void)
{
	char command[2 * sizeof copy + 32];
	snprintf(command, sizeof command, "rm -rf '%s' '%s.tmp'", copy, copy);
	if (system(command) != 0)
		give_up("the checkpoint cannot be removed");
}

/* Opens and reads all of a checkpoint: whatever it has is whole. */
static void make_checkpoint(struct wombat *db)
{
	struct wombat *of_copy;
	struct wombat_iter *it;
	remove_copy();
	must(wombat_checkpoint(db, copy), "checkpoint");
	must(wombat_open(copy, NULL, WOMBAT_OPEN_READ_ONLY, &of_copy), "open the checkpoint");
	must(wombat_iter_new(of_copy, NULL, WOMBAT_USER, &it), "scan the checkpoint");
	for (bool on = wombat_iter_first(it); on; on = wombat_iter_next(it)) {
		const struct wombat_record *r = wombat_iter_record(it);
		version_in(key_number(r->key), r);
	}
	must(wombat_iter_status(it), "scan the checkpoint");
	wombat_iter_free(it);
	must(wombat_close(of_copy), "close the checkpoint");
	remove_copy();
	atomic_fetch_add(&shared->checkpoints, 1);
}

static void change_option(struct wombat *db, struct random_state *r)
{
	static const struct wombat_setting settings[] = {
		{ "mem_table_size", "256K" }, { "mem_table_size", "4M" }, { "block_cache_size", "1M" }, { "block_cache_size", "64M" },
		{ "compression", "zlib" }, { "compression", "none" }, { "num_compactors", "1" }, { "compaction_strategy", "tiered" }, { "compaction_strategy", "leveled" }, { "num_compactors", "3" },
		{ "enable_cache_compression", "true" }, { "enable_cache_compression", "false" }, { "value_threshold", "8K" },
		{ "value_threshold", "0" }, { "filter_cache_size", "64K" }, { "filter_cache_size", "64M" }, { "table_cache_size", "64K" },
		{ "table_cache_size", "64M" }, { "max_open_files", "16" }, { "max_open_files", "1000" }, { "block_size", "1K" },
		{ "block_size", "16K" }, { "max_table_size", "256K" }, { "max_table_size", "4M" },
		{ "value_log_space_reclaim_threshold", "0.2" }, { "value_log_space_reclaim_threshold", "0.7" },
	};
	must(wombat_set(db, &settings[random_below(r, sizeof settings / sizeof settings[0])], 1), "option");
	atomic_fetch_add(&shared->option_changes, 1);
}

static void look_after(struct wombat *db, struct random_state *r)
{
	for (;;) {
		usleep(50000);
		switch (random_below(r, 40)) {
		case 0:
			must(wombat_compact(db, 0, WOMBAT_STR(""), WOMBAT_STR("")), "compact");
			atomic_fetch_add(&shared->compactions, 1);
			break;
		case 1:
			make_checkpoint(db);
			break;
		default:
			change_option(db, r);
		}
	}
}

/* What a kill interrupted is there as a whole, or not at all. */
static void check_group(struct wombat *db, struct group *g)
{
	unsigned new = 0, old = 0;
	if (!atomic_load(&g->active))
		return;
	for (unsigned i = 0; i < GROUP; i++) {
		unsigned version = read_version(db, g->keys[i], NULL), acked = atomic_load(&shared->keys[g->keys[i]].acked);
		bool is_new = deletes(g->versions[i]) ? version == 0 : version == g->versions[i];
		/* Absent before and after says nothing; nor does one that was acknowledged before the kill came. */
		bool was_absent = acked == 0 || deletes(acked);
		if (acked == g->versions[i] || (deletes(g->versions[i]) && was_absent))
			continue;
		new += is_new;
		old += !is_new;
	}
	if (new && old)
		give_up("of %u keys changed at once %u are new and %u are old", GROUP, new, old);
	atomic_store(&g->active, false);
}

/* The one before was killed and waited for, so nobody has the lock. Should it be held all the same: by whom, and for how long? */
static void open_database(const struct wombat_options *o, struct wombat **out)
{
	enum { TRIES = 1000, STEP_US = 10000 };
	char refusal[400];
	enum wombat_status s = wombat_open(database, o, WOMBAT_CREATE, out);
	if (s != WOMBAT_BUSY)
		must(s, "open");
	if (s == WOMBAT_OK)
		return;
	snprintf(refusal, sizeof refusal, "%s", wombat_last_error());
	unsigned tries = 0;
	for (; s == WOMBAT_BUSY && tries < TRIES; tries++) {
		usleep(STEP_US);
		s = wombat_open(database, o, WOMBAT_CREATE, out);
	}
	give_up("open by pid %ld: %s; %u ms later: %s", (long)getpid(), refusal, tries * (STEP_US / 1000), wombat_status_name(s));
}

static _Noreturn void child(uint64_t seed)
{
	struct wombat *db;
	struct wombat_options *o = wombat_options_new();
	struct worker workers[THREADS_MAX] = { 0 };
	struct random_state r;
	random_seed(&r, seed);
	must(wombat_options_set(o, "mem_table_size", "1M"), "option");
	must(wombat_options_set(o, "wal_file_size", "1M"), "option");
	must(wombat_options_set(o, "value_log_file_size", "2M"), "option");
	open_database(o, &db);
	for (unsigned i = 0; i < threads; i++)
		check_group(db, &shared->groups[i]);
	for (unsigned key = 0; key < threads * keys_each; key++) {
		unsigned version = read_version(db, key, NULL);
		judge(key, version != 0, version);
		/* From here on it is what the key has. */
		if (version)
			atomic_store(&shared->keys[key].acked, version);
		else if (deletes(atomic_load(&shared->keys[key].begun)))
			atomic_store(&shared->keys[key].acked, atomic_load(&shared->keys[key].begun));
		atomic_store(&shared->keys[key].begun, atomic_load(&shared->keys[key].acked));
	}
	for (unsigned i = 0; i < threads; i++) {
		struct worker *w = &workers[i];
		*w = (struct worker){ .db = db, .first = i * keys_each, .value = malloc(GROUP * 2 * LARGE) };
		random_seed(&w->r, seed + i + 1);
		if (!w->value || pthread_create(&w->id, NULL, work, w) != 0)
			give_up("no thread");
	}
	look_after(db, &r);
	_exit(0);
}

/* ---- The parent ------------------------------------------------------------------------------ */

static void count_entry(unsigned *count)
{
	DIR *d = opendir(database);
	*count = 0;
	for (struct dirent *e; d && (e = readdir(d)) != NULL;)
		++*count;
	if (d)
		closedir(d);
}

static unsigned resident_mib(pid_t pid)
{
	char path[64], line[128];
	unsigned kib = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmRSS: %u kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib / 1024;
}

static void on_finding(void *arg, bool is_damage, const char *sentence)
{
	if (!is_damage)
		return;
	++*(unsigned *)arg;
	fprintf(stderr, "soak: %s\n", sentence);
}

/* Lets a child live for a while; false: it ended by itself. */
static bool one_life(uint64_t seed, uint64_t life_ms, unsigned *most_mib)
{
	pid_t pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0)
		child(seed);
	for (uint64_t waited = 0; waited < life_ms; waited += 20) {
		int status;
		usleep(20000);
		if (waitpid(pid, &status, WNOHANG) == pid)
			return false;
		unsigned mib = waited % 200 == 0 ? resident_mib(pid) : 0;
		*most_mib = mib > *most_mib ? mib : *most_mib;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return !atomic_load(&shared->failed);
}

int main(int argc, char **argv)
{
	unsigned long seconds = 3600;
	for (int c; (c = getopt(argc, argv, "s:t:k:")) != -1;) {
		switch (c) {
		case 's': seconds = strtoul(optarg, NULL, 10); break;
		case 't': threads = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'k': keys_each = (unsigned)strtoul(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || threads < 1 || threads > THREADS_MAX || keys_each < GROUP) {
		fputs("usage: soak [-s SECONDS] [-t THREADS] [-k KEYS_PER_THREAD] DIRECTORY\n", stderr);
		return 2;
	}
	directory = argv[optind];
	mkdir(directory, 0755);
	snprintf(database, sizeof database, "%s/db", directory);
	snprintf(copy, sizeof copy, "%s/copy", directory);
	size_t size = sizeof *shared + (size_t)threads * keys_each * sizeof(struct key_state);
	shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	struct random_state r;
	random_seed(&r, test_seed("soak"));
	uint64_t end = now_ns() + seconds * UINT64_C(1000000000), told = now_ns();
	unsigned lives = 0, most_mib = 0, files = 0, damage = 0;
	bool ok = true;
	while (ok && now_ns() < end) {
		unsigned mib = 0;
		uint64_t life = 300 + random_below(&r, seconds < 60 ? 2000 : 20000), left = (end - now_ns()) / 1000000;
		ok = one_life(random_next(&r), life < left ? life : left + 1, &mib);
		lives++;
		most_mib = mib > most_mib ? mib : most_mib;
		count_entry(&files);
		if (now_ns() - told > UINT64_C(60000000000)) {
			told = now_ns();
			printf("%u lives, %llu puts, %u files, %u MiB resident at most in this life\n", lives,
			       (unsigned long long)atomic_load(&shared->done[PUT]), files, mib);
			fflush(stdout);
		}
	}
	if (ok)
		ok = wombat_check(database, on_finding, &damage) == WOMBAT_OK && !damage;
	printf("%s: %lu s, %u kills, %u files left, %u MiB resident at most\n", ok ? "held" : "FAILED", seconds, lives, files, most_mib);
	for (unsigned i = 0; i < KINDS; i++)
		printf("  %-14s %12llu   worst %8.1f ms\n", kind_names[i], (unsigned long long)atomic_load(&shared->done[i]),
		       (double)atomic_load(&shared->worst_ns[i]) / 1e6);
	printf("  options %llu, compactions on request %llu, checkpoints %llu\n",
	       (unsigned long long)atomic_load(&shared->option_changes), (unsigned long long)atomic_load(&shared->compactions),
	       (unsigned long long)atomic_load(&shared->checkpoints));
	if (!ok)
		fprintf(stderr, "soak: %s\n", shared->failure[0] ? shared->failure : damage ? "the database is damaged" : "a child died");
	return ok ? 0 : 1;
}
