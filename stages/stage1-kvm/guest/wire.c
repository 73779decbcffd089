/* Frames on the channel, a virtio-serial port: a byte of nothing, type (1 byte), 2 bytes of nothing, id and length (4 bytes each, little
 * endian), data. The first byte is where the 0 behind the last string of the frame before it goes.
 *
 * The host is trusted to send whole frames and to read what is sent: what a process of an app writes is sent only as far as the host
 * has said that it has room for it (credit, see init.c). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define HEADER 12

int channel = -1;

static char *incoming;
static size_t have, room, done;

void channel_open(void)
{
	/* The node appears when the driver has found the port. */
	for (int i = 0; i < 5000; i++) {
		channel = open("/dev/vport0p1", O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (channel >= 0)
			return;
		usleep(i < 100 ? 200 : 2000);
	}
}

uint32_t number32(const char *data)
{
	const unsigned char *d = (const unsigned char *)data;

	return (uint32_t)d[0] | (uint32_t)d[1] << 8 | (uint32_t)d[2] << 16 | (uint32_t)d[3] << 24;
}

void store32(char *data, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		data[i] = (char)(value >> 8 * i);
}

static int whole(struct frame *out)
{
	if (have - done < HEADER)
		return 0;
	out->type = (uint8_t)incoming[done + 1];
	out->id = number32(incoming + done + 4);
	out->length = number32(incoming + done + 8);
	if (out->length > LARGEST_FROM_HOST)
		abort();
	if (have - done < HEADER + out->length)
		return 0;
	out->data = incoming + done + HEADER;
	done += HEADER + out->length;
	return 1;
}

int channel_read(struct frame *out)
{
	ssize_t n;

	if (whole(out))
		return 1;
	if (done) {
		memmove(incoming, incoming + done, have - done);
		have -= done;
		done = 0;
	}
	if (room - have < 65536) {
		room = have + (have < 1u << 20 ? 131072 : 1u << 20);
		incoming = realloc(incoming, room + 1);
		if (!incoming)
			abort();
	}
	n = read(channel, incoming + have, room - have);
	if (n > 0)
		have += (size_t)n;
	return whole(out);
}

static void write_all(const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(channel, data, length);

		if (n > 0) {
			data += n;
			length -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = { channel, POLLOUT, 0 };

			poll(&wait, 1, 1000);
		} else if (n < 0 && errno != EINTR) {
			return;
		}
	}
}

void channel_send(uint8_t type, uint32_t id, const void *data, uint32_t length)
{
	static char frame[HEADER + LARGEST_TO_HOST];

	if (length > LARGEST_TO_HOST)
		length = LARGEST_TO_HOST;
	memset(frame, 0, 4);
	frame[1] = (char)type;
	store32(frame + 4, id);
	store32(frame + 8, length);
	memcpy(frame + HEADER, data, length);
	write_all(frame, HEADER + length);
}

void channel_reply(uint32_t id, int failed, const char *message)
{
	char data[1024] = { failed ? 1 : 0 };
	size_t length = strlen(message);

	if (length > sizeof data - 1)
		length = sizeof data - 1;
	memcpy(data + 1, message, length);
	channel_send('R', id, data, (uint32_t)length + 1);
}

void say(const char *format, ...)
{
	char text[1024];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (n > 0)
		channel_send('L', 0, text, (uint32_t)(n < (int)sizeof text ? n : (int)sizeof text - 1));
}

struct list list_read(char *data, uint32_t length)
{
	struct list list = { 0, NULL };
	uint32_t at = 0, count = 0;

	while (at < length) {
		uint32_t size;

		if (length - at < 4 || (size = number32(data + at)) > length - at - 4)
			return list;
		at += 4 + size;
		count++;
	}
	list.items = calloc(count + 1, sizeof *list.items);
	if (!list.items)
		return list;
	list.count = count;
	/* From the last to the first: the 0 behind a string is the first byte of the next one's length. */
	at = 0;
	for (uint32_t i = 0; i < count; i++) {
		list.items[i].length = number32(data + at);
		list.items[i].data = data + at + 4;
		at += 4 + list.items[i].length;
	}
	for (uint32_t i = 0; i < count; i++)
		list.items[i].data[list.items[i].length] = 0;
	return list;
}

void list_free(struct list *list)
{
	free(list->items);
	list->items = NULL;
	list->count = 0;
}
