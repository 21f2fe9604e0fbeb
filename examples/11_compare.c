/*
 * Comparing two configurations: the same work under both, in turns so that neither has the quieter machine, medians of
 * several rounds.
 *
 *     ./11_compare DIRECTORY "name=value ..." "name=value ..." [RECORDS]
 */
#include <sys/stat.h>

#include "example.h"

enum { ROUNDS = 3 };

struct result {
	double put, get, disk;
};

static void apply(struct wombat_options *o, const char *settings)
{
	char copy[1024], *save = NULL;
	snprintf(copy, sizeof copy, "%s", settings);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(word, '=');
		if (!equals) {
			fprintf(stderr, "11_compare: \"%s\" is not name=value\n", word);
			exit(2);
		}
		*equals = 0;
		must(wombat_options_set(o, word, equals + 1), word);
	}
}

static struct result run(const char *parent, unsigned which, unsigned round, const char *settings, unsigned long records)
{
	char dir[512], key[32], value[256];
	struct result r;
	struct wombat *db;
	struct wombat_record record;
	struct wombat_options *o = wombat_options_new();
	snprintf(dir, sizeof dir, "%s/%c%u", parent, 'A' + which, round);
	apply(o, settings);
	must(wombat_open(dir, o, WOMBAT_CREATE | WOMBAT_MUST_CREATE, &db), dir);
	wombat_options_free(o);
	double begin = seconds();
	for (unsigned long i = 0; i < records; i++)
		must(wombat_put(db, WOMBAT_USER, scattered_key(i, key), some_value(i, value)), "put");
	must(wombat_flush(db), "flush");
	must(wombat_wait_idle(db), "wait");
	r.put = (double)records / (seconds() - begin);
	begin = seconds();
	for (unsigned long i = 0; i < records; i++) {
		must(wombat_get(db, NULL, WOMBAT_USER, scattered_key(i * 7919 % records, key), &record), "get");
		wombat_record_release(&record);
	}
	r.get = (double)records / (seconds() - begin);
	r.disk = figure(db, "disk.tables_bytes");
	must(wombat_close(db), "close");
	return r;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof values[0], ascending);
	return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
	double put[2][ROUNDS], get[2][ROUNDS], disk[2] = { 0, 0 };
	if (argc < 4) {
		fprintf(stderr, "usage: 11_compare DIRECTORY \"name=value ...\" \"name=value ...\" [RECORDS]\n");
		return 2;
	}
	unsigned long records = count_of(argc, argv, 4, 100000);
	mkdir(argv[1], 0777);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned which = 0; which < 2; which++) {
			struct result r = run(argv[1], which, round, argv[2 + which], records);
			put[which][round] = r.put;
			get[which][round] = r.get;
			disk[which] = r.disk;
		}
	double a = median(put[0]), b = median(put[1]), c = median(get[0]), d = median(get[1]);
	printf("                %14s %14s   B/A\n", "A", "B");
	printf("put and settle  %12.0f/s %12.0f/s  %5.2f\n", a, b, b / a);
	printf("get             %12.0f/s %12.0f/s  %5.2f\n", c, d, d / c);
	printf("bytes on disk   %14.0f %14.0f  %5.2f\n", disk[0], disk[1], disk[1] / disk[0]);
	return 0;
}
