/* Interfaces, addresses and routes, as the pod's network namespace had them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest.h"

struct request {
	struct nlmsghdr header;
	char body[1024];
};

static void *body(struct request *r, uint16_t type, uint16_t flags, size_t size)
{
	memset(r, 0, sizeof *r);
	r->header.nlmsg_len = NLMSG_LENGTH(size);
	r->header.nlmsg_type = type;
	r->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return NLMSG_DATA(&r->header);
}

static void attribute(struct request *r, uint16_t type, const void *data, size_t size)
{
	struct rtattr *at = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));

	at->rta_type = type;
	at->rta_len = (uint16_t)RTA_LENGTH(size);
	memcpy(RTA_DATA(at), data, size);
	r->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(at->rta_len));
}

static int talk(struct request *r)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char answer[8192];
	struct nlmsghdr *head = (struct nlmsghdr *)answer;
	ssize_t n = -1;

	if (fd < 0)
		return -1;
	if (send(fd, r, r->header.nlmsg_len, 0) >= 0)
		n = recv(fd, answer, sizeof answer, 0);
	close(fd);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || head->nlmsg_type != NLMSG_ERROR)
		return -1;
	errno = -((struct nlmsgerr *)NLMSG_DATA(head))->error;
	return errno ? -1 : 0;
}

/* An address and its size, 0 when it is none. */
static size_t address(const char *text, char *out)
{
	if (inet_pton(AF_INET, text, out) == 1)
		return 4;
	return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static int failed(const char *what, const char *which, char *problem, size_t size)
{
	snprintf(problem, size, "%s %s: %s", what, which, strerror(errno));
	return -1;
}

/* The interface with a name, or with the hardware address that its machine gave it. */
static unsigned int find_interface(const char *wanted)
{
	struct if_nameindex *all = if_nameindex();
	unsigned int found = 0;

	for (struct if_nameindex *one = all; one && one->if_index && !found; one++) {
		char path[128], address[32] = "";
		int fd;

		snprintf(path, sizeof path, "/sys/class/net/%s/address", one->if_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			(void)!read(fd, address, sizeof address - 1);
			close(fd);
		}
		address[strcspn(address, "\n")] = 0;
		if (strcmp(one->if_name, wanted) == 0 || strcmp(address, wanted) == 0)
			found = one->if_index;
	}
	if_freenameindex(all);
	return found;
}

/* interface WHICH NAME MAC MTU [ADDRESS/PREFIX ...]: the one that is called WHICH or has this hardware address gets a name, another
 * hardware address, addresses, and is set up */
int set_interface(struct list *words, char *problem, size_t size)
{
	struct request r;
	struct ifinfomsg *info;
	struct list rest = { words->count - 1, words->items + 1 }, *w = &rest;
	const char *name = words->count > 4 ? words->items[2].data : "";
	unsigned int mac[6], index = words->count > 4 ? find_interface(words->items[1].data) : 0;
	unsigned char bytes[6];
	uint32_t mtu = (uint32_t)strtoul(words->count > 4 ? words->items[4].data : "0", NULL, 10);

	if (!index) {
		errno = ENODEV;
		return failed("interface", name, problem, size);
	}
	info = body(&r, RTM_NEWLINK, 0, sizeof *info);
	info->ifi_index = (int)index;
	if (sscanf(w->items[2].data, "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6) {
		for (int i = 0; i < 6; i++)
			bytes[i] = (unsigned char)mac[i];
		attribute(&r, IFLA_ADDRESS, bytes, sizeof bytes);
	}
	if (mtu)
		attribute(&r, IFLA_MTU, &mtu, sizeof mtu);
	attribute(&r, IFLA_IFNAME, name, strlen(name) + 1);
	if (talk(&r) < 0)
		return failed("interface", name, problem, size);
	info = body(&r, RTM_NEWLINK, 0, sizeof *info);
	info->ifi_index = (int)index;
	info->ifi_flags = info->ifi_change = IFF_UP;
	if (talk(&r) < 0)
		return failed("interface", name, problem, size);
	for (uint32_t i = 4; i < w->count; i++) {
		char ip[16], *slash = strchr(w->items[i].data, '/');
		struct ifaddrmsg *message;
		size_t length;

		if (!slash)
			continue;
		*slash = 0;
		length = address(w->items[i].data, ip);
		if (!length)
			continue;
		message = body(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof *message);
		message->ifa_family = length == 4 ? AF_INET : AF_INET6;
		message->ifa_prefixlen = (unsigned char)atoi(slash + 1);
		message->ifa_index = index;
		/* Nobody else can have it: the plugin has given it away. */
		message->ifa_flags = length == 16 ? IFA_F_NODAD : 0;
		attribute(&r, IFA_LOCAL, ip, length);
		attribute(&r, IFA_ADDRESS, ip, length);
		if (length == 4) {
			uint32_t mask = atoi(slash + 1) ? htonl(~0u << (32 - atoi(slash + 1))) : 0, local, broadcast;

			memcpy(&local, ip, 4);
			broadcast = local | ~mask;
			if (atoi(slash + 1) < 31)
				attribute(&r, IFA_BROADCAST, &broadcast, 4);
		}
		if (talk(&r) < 0)
			return failed("address", w->items[i].data, problem, size);
	}
	return 0;
}

/* route NAME DESTINATION/PREFIX GATEWAY SCOPE METRIC */
int add_route(struct list *w, char *problem, size_t size)
{
	struct request r;
	struct rtmsg *message;
	char to[16], gateway[16], *slash;
	size_t length, via;
	uint32_t index, metric;

	if (w->count < 6)
		return 0;
	slash = strchr(w->items[2].data, '/');
	if (!slash)
		return 0;
	*slash = 0;
	length = address(w->items[2].data, to);
	via = address(w->items[3].data, gateway);
	index = if_nametoindex(w->items[1].data);
	metric = (uint32_t)strtoul(w->items[5].data, NULL, 10);
	message = body(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *message);
	message->rtm_family = length == 4 ? AF_INET : AF_INET6;
	message->rtm_dst_len = (unsigned char)atoi(slash + 1);
	message->rtm_table = RT_TABLE_MAIN;
	message->rtm_protocol = RTPROT_BOOT;
	message->rtm_scope = (unsigned char)strtoul(w->items[4].data, NULL, 10);
	message->rtm_type = RTN_UNICAST;
	if (message->rtm_dst_len)
		attribute(&r, RTA_DST, to, length);
	if (via)
		attribute(&r, RTA_GATEWAY, gateway, via);
	attribute(&r, RTA_OIF, &index, sizeof index);
	if (metric)
		attribute(&r, RTA_PRIORITY, &metric, sizeof metric);
	return talk(&r) < 0 && errno != EEXIST ? failed("route", w->items[2].data, problem, size) : 0;
}
