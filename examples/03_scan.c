/*
 * Keys in order: a range of them forwards, the last ones backwards, and a directory as a mount would list it.
 *
 *     cc 03_scan.c $(pkg-config --cflags --libs wombat) -o 03_scan
 *     ./03_scan log.db
 */
#include <stdio.h>
#include <wombat.h>

static int fail(void)
{
	fprintf(stderr, "03_scan: %s\n", wombat_last_error());
	return -1;
}

static int fill(struct wombat *db)
{
	char key[64], value[64];
	for (int hour = 0; hour < 24; hour++)
		for (int minute = 0; minute < 60; minute += 20) {
			snprintf(key, sizeof(key), "log/2026-05-17/%02d:%02d", hour, minute);
			snprintf(value, sizeof(value), "all quiet at %d past %d", minute, hour);
			if (wombat_put(db, WOMBAT_USER, WOMBAT_STR(key), WOMBAT_STR(value)) != WOMBAT_OK)
				return fail();
		}
	if (wombat_put(db, WOMBAT_USER, WOMBAT_STR("log/format"), WOMBAT_STR("day/hour:minute")) != WOMBAT_OK)
		return fail();
	return 0;
}

static void print_record(const struct wombat_record *r)
{
	printf("  %.*s  %.*s\n", (int)r->key.size, (const char *)r->key.data, (int)r->value.size,
		(const char *)r->value.data);
}

/* An iterator with bounds never leaves them: what lies outside costs nothing. */
static int print_range(struct wombat *db)
{
	struct wombat_iter_options options = {
		.lower = WOMBAT_STR("log/2026-05-17/09"),
		.upper = WOMBAT_STR("log/2026-05-17/11"),
	};
	struct wombat_iter *iter;
	if (wombat_iter_new(db, &options, WOMBAT_USER, &iter) != WOMBAT_OK)
		return fail();
	printf("from nine to eleven:\n");
	for (bool more = wombat_iter_first(iter); more; more = wombat_iter_next(iter))
		print_record(wombat_iter_record(iter));
	printf("the last two before eleven, backwards:\n");
	int left = 2;
	for (bool more = wombat_iter_last(iter); more && left-- > 0; more = wombat_iter_prev(iter))
		print_record(wombat_iter_record(iter));
	/* The loops end at the end, or at an error: this tells them apart. */
	int result = wombat_iter_status(iter) == WOMBAT_OK ? 0 : fail();
	wombat_iter_free(iter);
	return result;
}

/* Its cost follows the two children, not the 73 keys. */
static int print_children(struct wombat *db)
{
	struct wombat_list *list;
	struct wombat_child child;
	enum wombat_status status;
	if (wombat_list_new(db, NULL, WOMBAT_USER, WOMBAT_STR("log/"), &list) != WOMBAT_OK)
		return fail();
	printf("directly below log/:\n");
	while ((status = wombat_list_next(list, &child)) == WOMBAT_OK)
		printf("  %.*s%s\n", (int)child.name.size, (const char *)child.name.data, child.is_value ? "" : "/");
	int result = status == WOMBAT_NOT_FOUND ? 0 : fail();
	wombat_list_free(list);
	return result;
}

int main(int argc, char **argv)
{
	struct wombat *db;
	if (argc != 2) {
		fprintf(stderr, "usage: 03_scan DIRECTORY\n");
		return 2;
	}
	if (wombat_open(argv[1], NULL, WOMBAT_CREATE, &db) != WOMBAT_OK) {
		fail();
		return 1;
	}
	int result = fill(db) == 0 && print_range(db) == 0 && print_children(db) == 0 ? 0 : 1;
	if (wombat_close(db) != WOMBAT_OK) {
		fail();
		result = 1;
	}
	return result;
}
