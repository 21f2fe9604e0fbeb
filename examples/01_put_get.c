/*
 * Open a database, store a value, read it back without a copy, delete it.
 *
 *     cc 01_put_get.c $(pkg-config --cflags --libs wombat) -o 01_put_get
 *     ./01_put_get app.db
 *
 * What it leaves behind, a mount shows as a file: wombatfs app.db mnt; cat mnt/users/42/name
 */
#include <stdio.h>
#include <wombat.h>

/* Every failure has one sentence. */
static int fail(struct wombat *db)
{
	fprintf(stderr, "01_put_get: %s\n", wombat_last_error());
	wombat_close(db);
	return 1;
}

int main(int argc, char **argv)
{
	struct wombat *db = NULL;
	struct wombat_record record;

	if (argc != 2) {
		fprintf(stderr, "usage: 01_put_get DIRECTORY\n");
		return 2;
	}
	if (wombat_open(argv[1], NULL, WOMBAT_CREATE, &db) != WOMBAT_OK)
		return fail(db);

	if (wombat_put(db, WOMBAT_USER, WOMBAT_STR("users/42/name"), WOMBAT_STR("Ada Lovelace")) != WOMBAT_OK ||
		wombat_put(db, WOMBAT_USER, WOMBAT_STR("users/42/draft"), WOMBAT_STR("to be deleted")) != WOMBAT_OK)
		return fail(db);

	/* The record points into the database's memory until it is released. */
	if (wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR("users/42/name"), &record) != WOMBAT_OK)
		return fail(db);
	printf("users/42/name = %.*s\n", (int)record.value.size, (const char *)record.value.data);
	wombat_record_release(&record);

	if (wombat_delete(db, WOMBAT_USER, WOMBAT_STR("users/42/draft")) != WOMBAT_OK)
		return fail(db);

	/* That there is no such key is an answer, with a code of its own. */
	switch (wombat_get(db, NULL, WOMBAT_USER, WOMBAT_STR("users/42/draft"), &record)) {
	case WOMBAT_NOT_FOUND:
		printf("users/42/draft is gone\n");
		break;
	case WOMBAT_OK:
		wombat_record_release(&record);
		fprintf(stderr, "01_put_get: users/42/draft is still there\n");
		wombat_close(db);
		return 1;
	default:
		return fail(db);
	}

	/* Closing makes durable what was written; an error here says that it may not be. */
	if (wombat_close(db) != WOMBAT_OK)
		return fail(NULL);
	return 0;
}
