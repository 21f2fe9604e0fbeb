/*
 * Messages of wombatfs: whole sentences to stderr, or to syslog once the daemon has left its terminal.
 */
#ifndef WOMBAT_FS_LOG_H
#define WOMBAT_FS_LOG_H

/* From now on to syslog. Before threads use the log. */
void log_to_syslog(void);
/* One sentence each, without a newline. Any thread. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* libfuse's own messages take the same way. */
void log_adopt_libfuse(void);

#endif
