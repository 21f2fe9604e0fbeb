/*
 * Alerts: compares figures with thresholds, prints those that are over, and says by its exit status whether there were
 * any; for cron and the like. A mounted database is watched in the same way with jq on .wombat/stats.
 *
 *     ./09_alerts DATABASE [NAME=THRESHOLD]...        NAME is a figure of `wombat stats --text`, over it is bad;
 *                                                      with NAME<THRESHOLD under it is bad
 */
#include "example.h"

struct alert {
	char name[64];
	double threshold;
	bool low_is_bad;
};

static const struct alert usual[] = {
	{ "latency.get.p99_ns", 50e6, false }, { "latency.put.p99_ns", 50e6, false }, { "cache_hit_ratio", 0.8, true },
	{ "memory_usage_bytes", 2.0 * (1 << 30), false }, { "stalls.stopped_total", 0, false }, { "errors.io_total", 0, false },
	{ "errors.corruption_total", 0, false }, { "errors.checksum_total", 0, false },
	{ "space_amplification", 2, false }, { "log.lost_total", 0, false },
};

static bool is_over(struct wombat *db, const struct alert *a)
{
	double value = figure(db, a->name);
	/* A share of nothing is 0, and no reason to wake anybody. */
	if (strcmp(a->name, "cache_hit_ratio") == 0 && figure(db, "block_cache.hits") + figure(db, "block_cache.misses") < 1000)
		return false;
	bool bad = a->low_is_bad ? value < a->threshold : value > a->threshold;
	if (bad)
		printf("ALERT %s is %.6g, %s %.6g\n", a->name, value, a->low_is_bad ? "under" : "over", a->threshold);
	return bad;
}

static struct alert parse(const char *text)
{
	struct alert a = { .name = "" };
	size_t n = strcspn(text, "=<");
	if (!text[n] || n >= sizeof a.name) {
		fprintf(stderr, "09_alerts: \"%s\" is not NAME=THRESHOLD or NAME<THRESHOLD\n", text);
		exit(2);
	}
	memcpy(a.name, text, n);
	a.low_is_bad = text[n] == '<';
	a.threshold = strtod(text + n + 1, NULL);
	return a;
}

int main(int argc, char **argv)
{
	struct wombat *db;
	unsigned alerts = 0;
	if (argc < 2) {
		fprintf(stderr, "usage: 09_alerts DATABASE [NAME=THRESHOLD]...\n");
		return 2;
	}
	must(wombat_open(argv[1], NULL, WOMBAT_OPEN_READ_ONLY, &db), argv[1]);
	for (size_t i = 0; argc == 2 && i < sizeof usual / sizeof usual[0]; i++)
		alerts += is_over(db, &usual[i]);
	for (int i = 2; i < argc; i++) {
		struct alert a = parse(argv[i]);
		alerts += is_over(db, &a);
	}
	if (!alerts)
		printf("all is well\n");
	must(wombat_close(db), "close");
	return alerts ? 1 : 0;
}
