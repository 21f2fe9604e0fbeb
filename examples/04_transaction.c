/*
 * Threads that move money between accounts by optimistic transactions. Whoever meets a conflict begins anew; the sum of
 * all accounts stays what it was.
 *
 *     cc 04_transaction.c $(pkg-config --cflags --libs wombat) -pthread && ./a.out accounts.db
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wombat.h>

enum { ACCOUNTS = 20, OPENING_BALANCE = 1000, THREADS = 4, TRANSFERS = 500 };

static void fatal(const char *what)
{
	fprintf(stderr, "transaction: %s: %s\n", what, wombat_last_error());
	exit(1);
}

static struct wombat_slice account_key(unsigned account, char out[32])
{
	return WOMBAT_SLICE(out, (size_t)snprintf(out, 32, "accounts/%04u", account));
}

static enum wombat_status read_balance(struct wombat_txn *txn, unsigned account, long *out)
{
	char key[32], text[32] = "";
	struct wombat_record r;
	enum wombat_status s = wombat_txn_get(txn, WOMBAT_USER, account_key(account, key), 0, &r);
	if (s != WOMBAT_OK)
		return s;
	memcpy(text, r.value.data, r.value.size < sizeof text - 1 ? r.value.size : sizeof text - 1);
	wombat_record_release(&r);
	*out = atol(text);
	return WOMBAT_OK;
}

static enum wombat_status write_balance(struct wombat_txn *txn, unsigned account, long balance)
{
	char key[32], text[32];
	int size = snprintf(text, sizeof text, "%ld", balance);
	return wombat_txn_put(txn, WOMBAT_USER, account_key(account, key), WOMBAT_SLICE(text, (size_t)size), NULL);
}

/* One try. WOMBAT_CONFLICT: somebody else was faster with one of the two accounts. */
static enum wombat_status transfer(struct wombat *db, unsigned from, unsigned to, long amount)
{
	struct wombat_txn *txn;
	long a, b;
	enum wombat_status s = wombat_txn_begin(db, 0, &txn);
	if (s != WOMBAT_OK)
		return s;
	s = read_balance(txn, from, &a);
	if (s == WOMBAT_OK)
		s = read_balance(txn, to, &b);
	if (s == WOMBAT_OK)
		s = write_balance(txn, from, a - amount);
	if (s == WOMBAT_OK)
		s = write_balance(txn, to, b + amount);
	if (s == WOMBAT_OK)
		return wombat_txn_commit(txn, 0, NULL);
	wombat_txn_abandon(txn);
	return s;
}

struct clerk {
	struct wombat *db;
	unsigned seed, conflicts;
};

static void *move_money(void *arg)
{
	struct clerk *c = arg;
	for (unsigned done = 0; done < TRANSFERS;) {
		unsigned from = (unsigned)rand_r(&c->seed) % ACCOUNTS;
		unsigned to = (from + 1 + (unsigned)rand_r(&c->seed) % (ACCOUNTS - 1)) % ACCOUNTS;
		enum wombat_status s = transfer(c->db, from, to, rand_r(&c->seed) % 100);
		if (s == WOMBAT_OK)
			done++;
		else if (s == WOMBAT_CONFLICT)
			c->conflicts++;
		else
			fatal("transfer");
	}
	return NULL;
}

static long sum_of_all(struct wombat *db)
{
	struct wombat_txn *txn;
	long sum = 0, balance;
	if (wombat_txn_begin(db, 0, &txn) != WOMBAT_OK)
		fatal("begin");
	for (unsigned i = 0; i < ACCOUNTS; i++) {
		if (read_balance(txn, i, &balance) != WOMBAT_OK)
			fatal("read");
		sum += balance;
	}
	wombat_txn_abandon(txn);
	return sum;
}

int main(int argc, char **argv)
{
	struct wombat *db;
	struct wombat_txn *txn;
	struct clerk clerks[THREADS];
	pthread_t threads[THREADS];
	unsigned conflicts = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: transaction DATABASE\n");
		return 2;
	}
	if (wombat_open(argv[1], NULL, WOMBAT_CREATE, &db) != WOMBAT_OK)
		fatal(argv[1]);
	if (wombat_txn_begin(db, 0, &txn) != WOMBAT_OK)
		fatal("begin");
	for (unsigned i = 0; i < ACCOUNTS; i++)
		if (write_balance(txn, i, OPENING_BALANCE) != WOMBAT_OK)
			fatal("open accounts");
	if (wombat_txn_commit(txn, WOMBAT_SYNC, NULL) != WOMBAT_OK)
		fatal("open accounts");

	for (unsigned i = 0; i < THREADS; i++) {
		clerks[i] = (struct clerk){ .db = db, .seed = i + 1 };
		if (pthread_create(&threads[i], NULL, move_money, &clerks[i]) != 0)
			fatal("thread");
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		conflicts += clerks[i].conflicts;
	}
	long sum = sum_of_all(db);
	printf("%d transfers by %d threads, %u conflicts; %d accounts hold %ld\n", THREADS * TRANSFERS, THREADS, conflicts,
	       ACCOUNTS, sum);
	if (wombat_close(db) != WOMBAT_OK)
		fatal("close");
	return sum == (long)ACCOUNTS * OPENING_BALANCE ? 0 : 1;
}
