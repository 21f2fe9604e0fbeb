/*
 * The table of options: what `wombat help options`, the configuration file, the mount's `.wombat/config`
 * and the man page say comes from here. A default is the value of the default preset; each help says
 * what worsens in each direction.
 */
#include "engine/db/options.h"

#define K * 1024.0
#define M * 1048576.0
#define G * 1073741824.0
#define T * 1099511627776.0

#define FIELD(field) offsetof(struct options, field)

static const char *const log_words[] = { "off", "error", "warn", "info", "debug", NULL };
static const char *const strategy_words[] = { "leveled", "tiered", NULL };
static const char *const compression_words[] = { "none", "zlib", NULL };

const struct option_entry option_table[] = {
	{ { "mem_table_size", WOMBAT_TYPE_SIZE, "64M", "64K..16G", "bytes", true,
	    "Bytes of changes gathered in memory before they are written to a table. More: fewer flushes and less "
	    "compaction, more memory, longer recovery. Less: more small tables." },
	  FIELD(mem_table_size), 64 K, 16 G, NULL },
	{ { "num_memtables", WOMBAT_TYPE_COUNT, "3", "1..64", "", true,
	    "Full memtables that may wait for their flush before writers stop. More: longer bursts are absorbed, more "
	    "memory. Less: writers wait for the disk sooner." },
	  FIELD(num_memtables), 1, 64, NULL },
	{ { "num_level_zero_tables", WOMBAT_TYPE_COUNT, "4", "1..1000", "", true,
	    "Tables of level 0 at which their compaction begins. More: less rewriting, slower reads of absent and old "
	    "keys. Less: faster reads, more rewriting." },
	  FIELD(num_level_zero_tables), 1, 1000, NULL },
	{ { "num_level_zero_tables_stall", WOMBAT_TYPE_COUNT, "20", "2..10000", "", true,
	    "Tables of level 0 at which writers stop; they are slowed from two thirds of it on. More: longer bursts, "
	    "slower reads meanwhile. Less: writers wait for compaction sooner. At least num_level_zero_tables + 1." },
	  FIELD(num_level_zero_tables_stall), 2, 10000, NULL },
	{ { "max_levels", WOMBAT_TYPE_COUNT, "7", "2..12", "", false,
	    "Levels of the tree, level 0 included. Fewer: the last one grows past its target and is rewritten more. "
	    "More: nothing is gained before the data needs them." },
	  FIELD(max_levels), 2, 12, NULL },
	{ { "level_size_multiplier", WOMBAT_TYPE_REAL, "10", "2..100", "", true,
	    "How many times larger each level's target is than the one above. More: fewer levels to read, more bytes "
	    "rewritten per byte. Less: the reverse, and more space for overwritten data." },
	  FIELD(level_size_multiplier), 2, 100, NULL },
	{ { "max_table_size", WOMBAT_TYPE_SIZE, "64M", "64K..16G", "bytes", true,
	    "Size at which compaction begins a new table. More: fewer files, coarser compactions. Less: finer ones, more "
	    "open files." },
	  FIELD(max_table_size), 64 K, 16 G, NULL },
	{ { "block_size", WOMBAT_TYPE_SIZE, "4K", "512..4M", "bytes", true,
	    "Uncompressed bytes of a table block, the unit of reading, caching and compressing. More: smaller indexes, "
	    "better compression, faster scans, slower point reads. Applies to tables written from then on." },
	  FIELD(block_size), 512, 4 M, NULL },
	{ { "bloom_false_positive", WOMBAT_TYPE_REAL, "0.01", "0..0.5", "", true,
	    "Share of absent keys for which a table is read in vain; 0: no filters. Less: larger filters in memory. More: "
	    "more reads of absent keys reach the disk. Applies to tables written from then on." },
	  FIELD(bloom_false_positive), 0, 0.5, NULL },
	{ { "num_compactors", WOMBAT_TYPE_COUNT, "2", "1..64", "", true,
	    "Compactions that run at a time. More: keeps up with heavier writing, takes more processor and disk from the "
	    "foreground. Less: writers may come to wait." },
	  FIELD(num_compactors), 1, 64, NULL },
	{ { "compaction_strategy", WOMBAT_TYPE_ENUM, "leveled", "leveled|tiered", "", true,
	    "How tables are merged. leveled: levels with targets, few tables to read and little space for overwritten data. "
	    "tiered: num_level_zero_tables tables of about one size at a time, so that each byte is written less often; "
	    "reads ask up to half of num_level_zero_tables_stall more tables, and overwritten data takes up to three times the "
	    "space." },
	  FIELD(compaction_strategy), 0, 1, strategy_words },
	{ { "compaction_throttle_bytes_per_sec", WOMBAT_TYPE_SIZE, "0", "0..1T", "bytes/s", true,
	    "Bytes a second that compactions may write together; 0: no limit. Less: steadier reads and writes beside them, "
	    "until they fall behind and writers are slowed." },
	  FIELD(compaction_throttle_bytes_per_sec), 0, 1 T, NULL },
	{ { "compression", WOMBAT_TYPE_ENUM, "none", "none|zlib", "", true,
	    "How table blocks are compressed. zlib: less disk, more processor for flush, compaction and first reads. "
	    "Applies to tables written from then on." },
	  FIELD(compression), 0, 1, compression_words },
	{ { "compression_level", WOMBAT_TYPE_COUNT, "6", "1..9", "", true,
	    "Effort of zlib. More: smaller and slower to write. Less: larger and faster." },
	  FIELD(compression_level), 1, 9, NULL },
	{ { "sync_writes", WOMBAT_TYPE_BOOL, "false", "true|false", "", true,
	    "Whether every write is durable before it returns. true: each waits for the disk (those at the same time share "
	    "one wait). false: a power cut may take what came after the last sync; a crash of the process takes nothing." },
	  FIELD(sync_writes), 0, 1, NULL },
	{ { "sync_interval_ms", WOMBAT_TYPE_COUNT, "1000", "0..3600000", "ms", true,
	    "How often what was written is made durable in the background; 0: only on request. More: more to lose in a power "
	    "cut. Less: more writing to the disk." },
	  FIELD(sync_interval_ms), 0, 3600000, NULL },
	{ { "value_dir", WOMBAT_TYPE_PATH, "", "an absolute path, or nothing", "", false,
	    "Directory for the value log when a database is made; empty: the database's own. Another device than that of "
	    "tables and log: they do not wait for each other, but both must be there. Later: where it was moved to." },
	  FIELD(value_dir), 0, 1, NULL },
	{ { "block_cache_size", WOMBAT_TYPE_SIZE, "512M", "0..1T", "bytes", true,
	    "Memory for table blocks that were read. More: fewer reads from the disk. Less: more of them; 0 keeps only "
	    "what is in use." },
	  FIELD(block_cache_size), 0, 1 T, NULL },
	{ { "enable_cache_compression", WOMBAT_TYPE_BOOL, "false", "true|false", "", true,
	    "Whether three quarters of block_cache_size keep blocks packed. true: more blocks fit in, those of packed tables "
	    "for nothing; others are packed when they are read, and each use of a block from there unpacks it. false: memory "
	    "is spent instead of the processor." },
	  FIELD(enable_cache_compression), 0, 1, NULL },
	{ { "table_cache_size", WOMBAT_TYPE_SIZE, "256M", "0..1T", "bytes", true,
	    "Memory for what open tables keep: their indexes, properties and range tombstones. Less: tables are closed, and "
	    "opened anew when they are asked, several reads each. 0 keeps open only what is in use." },
	  FIELD(table_cache_size), 0, 1 T, NULL },
	{ { "filter_cache_size", WOMBAT_TYPE_SIZE, "256M", "0..1T", "bytes", true,
	    "Memory for pages of filters. Less: asking a filter may cost a read; below a byte and a quarter for each key "
	    "(at bloom_false_positive 0.01) some do. More: no gain beyond the size of all filters." },
	  FIELD(filter_cache_size), 0, 1 T, NULL },
	{ { "cache_shards", WOMBAT_TYPE_COUNT, "16", "1..256", "", false,
	    "Parts of the block cache and of the filter cache with a lock of their own, rounded up to a power of two. More: less waiting among "
	    "threads, less exact choice of what to evict." },
	  FIELD(cache_shards), 1, 256, NULL },
	{ { "enable_prefetch", WOMBAT_TYPE_BOOL, "true", "true|false", "", true,
	    "Whether scans that move on in order ask the disk for blocks before they need them. true: long scans wait less. "
	    "false: nothing is read in vain, and each block is waited for." },
	  FIELD(enable_prefetch), 0, 1, NULL },
	{ { "prefetch_distance", WOMBAT_TYPE_COUNT, "8", "1..4096", "blocks", true,
	    "How many blocks ahead a scan asks to begin with; it doubles up to read_ahead_size as the scan goes on. More: the "
	    "first blocks come sooner, and a scan that ends soon has read more in vain. Less: the reverse." },
	  FIELD(prefetch_distance), 1, 4096, NULL },
	{ { "read_ahead_size", WOMBAT_TYPE_SIZE, "256K", "0..64M", "bytes", true,
	    "What compactions read at a time, and how much scans ask for ahead at most. More: fewer, larger reads; short scans "
	    "read in vain. Less: more reads." },
	  FIELD(read_ahead_size), 0, 64 M, NULL },
	{ { "write_buffer_size", WOMBAT_TYPE_SIZE, "1M", "4K..64M", "bytes", true,
	    "Bytes of a table that are gathered before they are handed to the operating system. More: fewer, larger "
	    "writes, more memory per flush and compaction." },
	  FIELD(write_buffer_size), 4 K, 64 M, NULL },
	{ { "use_mmap", WOMBAT_TYPE_BOOL, "false", "true|false", "", false,
	    "Whether tables are read through a memory map. true: no system call for data in the page cache; a read that "
	    "misses it fetches more than it needs, which is slow when data is larger than memory." },
	  FIELD(use_mmap), 0, 1, NULL },
	{ { "direct_io", WOMBAT_TYPE_BOOL, "false", "true|false", "", false,
	    "Whether flush and compaction write past the page cache, and reads too unless use_mmap serves them. true: the "
	    "block cache is then the only cache, and memory is what is set here. false: the page cache helps." },
	  FIELD(direct_io), 0, 1, NULL },
	{ { "max_open_files", WOMBAT_TYPE_COUNT, "1000", "16..1000000", "", true,
	    "Tables kept open, with their index in memory (table_cache_size). Less: tables are opened anew, several reads "
	    "each. More: memory, and the process's limit of open files." },
	  FIELD(max_open_files), 16, 1000000, NULL },
	{ { "write_throttle_bytes_per_sec", WOMBAT_TYPE_SIZE, "0", "0..1T", "bytes/s", true,
	    "Bytes a second that writers may put together; 0: no limit. Less: leaves the disk to others, and writers wait." },
	  FIELD(write_throttle_bytes_per_sec), 0, 1 T, NULL },
	{ { "wal_file_size", WOMBAT_TYPE_SIZE, "16M", "64K..1G", "bytes", true,
	    "Size of a write-ahead log segment, allocated ahead and reused. More: fewer changes of segment, more disk. Less: "
	    "changes over its size need a segment of their own. Applies to segments made from then on." },
	  FIELD(wal_file_size), 64 K, 1 G, NULL },
	{ { "verify_checksums", WOMBAT_TYPE_BOOL, "true", "true|false", "", true,
	    "Whether each block's checksum is verified when it is read from the disk. false: damage may go unnoticed until "
	    "`wombat check`." },
	  FIELD(verify_checksums), 0, 1, NULL },
	{ { "value_threshold", WOMBAT_TYPE_SIZE, "32K", "0..1G", "bytes", true,
	    "Values of this size or more are written once, to the value log, and pointed to; 0: none. Less: less rewriting by "
	    "flush and compaction, one more read for each such value, more space until dead ones are collected. More: the "
	    "reverse. Applies to values written from then on." },
	  FIELD(value_threshold), 0, 1 G, NULL },
	{ { "value_log_file_size", WOMBAT_TYPE_SIZE, "64M", "64K..64G", "bytes", true,
	    "Size at which the value log begins a new file. More: fewer files, and more to write anew when one is collected. "
	    "Less: more open files. A full memtable is also one whose changes brought four times as many bytes of values." },
	  FIELD(value_log_file_size), 64 K, 64 G, NULL },
	{ { "value_log_space_reclaim_threshold", WOMBAT_TYPE_REAL, "0.5", "0.05..1", "", true,
	    "Share of a value log file that must be dead before its live values are written anew and it is removed; 1: only "
	    "when all is dead. Less: less space, more rewriting. More: the reverse." },
	  FIELD(value_log_space_reclaim_threshold), 0.05, 1, NULL },
	{ { "log_level", WOMBAT_TYPE_ENUM, "info", "off|error|warn|info|debug", "", true,
	    "What is written to the file LOG in the database's directory: errors, stalls and slow operations (warn), flushes, "
	    "compactions and changes of options (info), moves of tables (debug). LOG and LOG.old take 1 MiB each." },
	  FIELD(log_level), 0, 4, log_words },
	{ { "slow_operation_threshold_ms", WOMBAT_TYPE_COUNT, "0", "0..3600000", "ms", true,
	    "Reads and writes that take as long are logged, with where the time went; 0: none. Any other value reads the clock "
	    "twice for each operation." },
	  FIELD(slow_operation_threshold_ms), 0, 3600000, NULL },
	{ { "max_key_size", WOMBAT_TYPE_SIZE, "4096", "16..65536", "bytes", true,
	    "Longest key that may be written. Longer ones that are there stay readable." },
	  FIELD(max_key_size), 16, 65536, NULL },
	{ { "max_value_size", WOMBAT_TYPE_SIZE, "16T", "1..16T", "bytes", true,
	    "Largest value that may be written; at most 1 GiB of it at once, more in parts. Larger ones that are there stay "
	    "readable." },
	  FIELD(max_value_size), 1, 16 T, NULL },
};

const size_t option_count = sizeof option_table / sizeof option_table[0];

_Static_assert(sizeof option_table / sizeof option_table[0] <= OPTION_MAX, "explicit_mask has a bit for each");
