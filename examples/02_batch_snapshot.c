/*
 * Move money between two accounts in one step, durably, while a reader keeps the state from before.
 *
 *     cc 02_batch_snapshot.c $(pkg-config --cflags --libs wombat) -o 02_batch_snapshot
 *     ./02_batch_snapshot bank.db
 */
#include <stdio.h>
#include <stdlib.h>
#include <wombat.h>

static const char alice[] = "accounts/alice", bob[] = "accounts/bob";

static int fail(void)
{
	fprintf(stderr, "02_batch_snapshot: %s\n", wombat_last_error());
	return -1;
}

/* Both balances change, or neither does. */
static int write_balances(struct wombat *db, long of_alice, long of_bob)
{
	char text[2][32];
	struct wombat_batch *batch = wombat_batch_new();
	snprintf(text[0], sizeof(text[0]), "%ld", of_alice);
	snprintf(text[1], sizeof(text[1]), "%ld", of_bob);
	int result = 0;
	if (!batch || wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR(alice), WOMBAT_STR(text[0]), NULL) != WOMBAT_OK ||
		wombat_batch_put(batch, WOMBAT_USER, WOMBAT_STR(bob), WOMBAT_STR(text[1]), NULL) != WOMBAT_OK ||
		wombat_write(db, batch, WOMBAT_SYNC, NULL) != WOMBAT_OK)
		result = fail();
	wombat_batch_free(batch);
	return result;
}

/* `snapshot` NULL: as of now. */
static int read_balance(struct wombat *db, const struct wombat_snapshot *snapshot, const char *key, long *out_balance)
{
	struct wombat_read_options options = { .snapshot = snapshot };
	void *text;
	if (wombat_get_copy(db, &options, WOMBAT_USER, WOMBAT_STR(key), &text, NULL) != WOMBAT_OK)
		return fail();
	*out_balance = strtol(text, NULL, 10);
	free(text);
	return 0;
}

static int print_balances(struct wombat *db, const struct wombat_snapshot *snapshot, const char *when)
{
	long of_alice, of_bob;
	if (read_balance(db, snapshot, alice, &of_alice) != 0 || read_balance(db, snapshot, bob, &of_bob) != 0)
		return -1;
	printf("%s: alice %ld, bob %ld, together %ld\n", when, of_alice, of_bob, of_alice + of_bob);
	return of_alice + of_bob == 150 ? 0 : -1;
}

static int transfer(struct wombat *db)
{
	if (write_balances(db, 100, 50) != 0)
		return -1;
	struct wombat_snapshot *before = wombat_snapshot_new(db);
	if (!before)
		return fail();
	int result = -1;
	if (write_balances(db, 70, 80) == 0 && print_balances(db, before, "before") == 0 &&
		print_balances(db, NULL, "after") == 0)
		result = 0;
	wombat_snapshot_release(db, before);
	return result;
}

int main(int argc, char **argv)
{
	struct wombat *db;
	if (argc != 2) {
		fprintf(stderr, "usage: 02_batch_snapshot DIRECTORY\n");
		return 2;
	}
	if (wombat_open(argv[1], NULL, WOMBAT_CREATE, &db) != WOMBAT_OK) {
		fail();
		return 1;
	}
	int result = transfer(db);
	if (wombat_close(db) != WOMBAT_OK)
		result = fail();
	return result != 0;
}
