/* Landlock for an app, by the rules that rktpy.isolate.landlock has made for this kernel. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

/* Rights that a rule for a file, not a directory, may have: execute, write, read, truncate. */
#define OF_FILES (1ull | 2ull | 4ull | 1ull << 14)

/* Rules: FILES, PORTS, then pairs of rights and path; the kernels that this runs know no rules for ports yet. The root is the app's. */
const char *landlock_apply(const char *rules, uint32_t length)
{
	struct landlock_ruleset_attr attributes = { 0 };
	char *copy = malloc(length + 1);
	struct list words;
	int set;

	if (!copy)
		return "malloc";
	memcpy(copy, rules, length);
	words = list_read(copy, length);
	if (words.count < 2)
		return "landlock rules";
	attributes.handled_access_fs = strtoull(words.items[0].data, NULL, 16);
	set = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0);
	if (set < 0)
		return "landlock_create_ruleset";
	for (uint32_t i = 2; i + 1 < words.count; i += 2) {
		struct landlock_path_beneath_attr rule = { .allowed_access = strtoull(words.items[i].data, NULL, 16) };
		struct stat status;

		rule.parent_fd = open(words.items[i + 1].data, O_PATH | O_CLOEXEC);
		if (rule.parent_fd < 0)
			continue; /* not there: nothing to be allowed */
		if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
			rule.allowed_access &= OF_FILES;
		if (rule.allowed_access && syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
			return "landlock_add_rule";
		close(rule.parent_fd);
	}
	if (syscall(SYS_landlock_restrict_self, set, 0) < 0)
		return "landlock_restrict_self";
	close(set);
	free(copy);
	list_free(&words);
	return NULL;
}
