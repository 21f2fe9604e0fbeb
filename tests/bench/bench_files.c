/*
 * The same work on files in several directories, one after the other in each round: a mount beside the machine's own file
 * system, for instance.
 *
 *     bench_files [-n FILES] [-r ROUNDS] NAME=DIR ...
 *
 * Prints CSV: name, workload, median, minimum and maximum operations per second.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DIRS = 20, SMALL = 100, ROUNDS_MAX = 9, TARGETS_MAX = 8, BIG_MIB = 64 };

enum workload { CREATE, STAT, MISSING, READ, REREAD, LIST, OVERWRITE, APPEND, RENAME, FSYNC, DELETE, BIGWRITE, BIGREAD, WORKLOADS };
static const char *const names[WORKLOADS] = { "create", "stat", "missing", "read", "reread", "listlong", "overwrite",
					      "append", "rename", "fsync", "delete", "bigwrite_mib", "bigread_mib" };

static const char *root;
static int files = 5000;
static char block[1 << 20];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static _Noreturn void die(const char *what, const char *path)
{
	fprintf(stderr, "bench_files: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static void drop_caches(void)
{
	sync();
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd < 0)
		return; /* Not root: what is cold stays warm, for everybody. */
	if (write(fd, "3\n", 2) != 2)
		perror("drop_caches");
	close(fd);
}

static void path_of(char out[4096], int i, const char *suffix)
{
	snprintf(out, 4096, "%s/d%02d/file%06d%s", root, i % DIRS, i, suffix);
}

static void write_file(const char *path, int flags, bool sync_it)
{
	int fd = open(path, flags | O_WRONLY, 0644);
	if (fd < 0 || write(fd, block, SMALL) != SMALL || (sync_it && fsync(fd) != 0) || close(fd) != 0)
		die("writing", path);
}

static void read_file(const char *path)
{
	static char in[65536];
	int fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, in, sizeof in) < SMALL || memcmp(in, block, SMALL) != 0)
		die("reading", path);
	close(fd);
}

static void one(enum workload w, int i)
{
	char path[4096], other[4096];
	struct stat st;
	path_of(path, i, w == MISSING ? ".none" : w == DELETE ? ".r" : w == FSYNC ? ".s" : "");
	switch (w) {
	case CREATE:
		write_file(path, O_CREAT | O_EXCL, false);
		break;
	case FSYNC:
		write_file(path, O_CREAT | O_EXCL, true);
		break;
	case OVERWRITE:
		write_file(path, O_TRUNC, false);
		break;
	case APPEND:
		write_file(path, O_APPEND, false);
		break;
	case READ:
	case REREAD:
		read_file(path);
		break;
	case STAT:
		if (stat(path, &st) != 0)
			die("stat", path);
		break;
	case MISSING:
		if (stat(path, &st) == 0)
			die("found", path);
		break;
	case RENAME:
		path_of(other, i, ".r");
		if (rename(path, other) != 0)
			die("renaming", path);
		break;
	case DELETE:
		if (unlink(path) != 0)
			die("removing", path);
		break;
	default:
		break;
	}
}

static int list_all(void)
{
	int seen = 0;
	for (int d = 0; d < DIRS; d++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/d%02d", root, d);
		DIR *dir = opendir(path);
		if (!dir)
			die("listing", path);
		for (struct dirent *e; (e = readdir(dir));) {
			struct stat st;
			if (e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
				seen++;
		}
		closedir(dir);
	}
	return seen;
}

static void big(bool writing)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/big", root);
	int fd = open(path, writing ? O_CREAT | O_TRUNC | O_WRONLY : O_RDONLY, 0644);
	if (fd < 0)
		die("opening", path);
	for (int i = 0; i < BIG_MIB; i++)
		if ((writing ? write(fd, block, sizeof block) : read(fd, block, sizeof block)) != sizeof block)
			die("big file", path);
	if ((writing && fsync(fd) != 0) || close(fd) != 0)
		die("big file", path);
}

static double run(enum workload w)
{
	int n = w == FSYNC ? files / 20 : w >= BIGWRITE ? BIG_MIB : files;
	if (w == STAT || w == READ || w == LIST || w == BIGREAD)
		drop_caches();
	double t = now();
	if (w == LIST)
		n = list_all();
	else if (w >= BIGWRITE)
		big(w == BIGWRITE);
	else
		for (int i = 0; i < n; i++)
			one(w, i);
	return n / (now() - t);
}

static void round_of(const char *dir, double out[WORKLOADS])
{
	char base[4000], path[4096];
	snprintf(base, sizeof base, "%s/bench_files", dir);
	root = base;
	if (mkdir(base, 0755) != 0)
		die("making", base);
	for (int d = 0; d < DIRS; d++) {
		snprintf(path, sizeof path, "%s/d%02d", base, d);
		if (mkdir(path, 0755) != 0)
			die("making", path);
	}
	for (int w = 0; w < WORKLOADS; w++)
		out[w] = run((enum workload)w);
	snprintf(path, sizeof path, "rm -rf '%s'", base);
	if (system(path) != 0)
		die("removing", base);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double rate[TARGETS_MAX][WORKLOADS][ROUNDS_MAX];
	int rounds = 3;
	for (int c; (c = getopt(argc, argv, "n:r:")) != -1;) {
		switch (c) {
		case 'n': files = atoi(optarg); break;
		case 'r': rounds = atoi(optarg); break;
		default: return 2;
		}
	}
	int targets = argc - optind;
	if (targets < 1 || targets > TARGETS_MAX || rounds < 1 || rounds > ROUNDS_MAX || files < 100) {
		fputs("usage: bench_files [-n FILES] [-r ROUNDS] NAME=DIR ...\n", stderr);
		return 2;
	}
	memset(block, 'w', sizeof block);
	for (int r = 0; r < rounds; r++)
		for (int k = 0; k < targets; k++) {
			double out[WORKLOADS];
			char *dir = strchr(argv[optind + k], '=');
			if (!dir)
				die("no NAME=DIR:", argv[optind + k]);
			round_of(dir + 1, out);
			for (int w = 0; w < WORKLOADS; w++)
				rate[k][w][r] = out[w];
		}
	printf("target,workload,files,rounds,median_per_s,min_per_s,max_per_s\n");
	for (int w = 0; w < WORKLOADS; w++)
		for (int k = 0; k < targets; k++) {
			qsort(rate[k][w], (size_t)rounds, sizeof(double), compare);
			printf("%.*s,%s,%d,%d,%.0f,%.0f,%.0f\n", (int)strcspn(argv[optind + k], "="), argv[optind + k],
			       names[w], files, rounds, rate[k][w][rounds / 2], rate[k][w][0], rate[k][w][rounds - 1]);
		}
	return 0;
}
