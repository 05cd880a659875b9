/* Packets of clients, due now: written, filled in with what is known only now, protected and sent, those of one client by
 * one system call. First of frames that Python made, then of streams whose frames are made here.
 *
 * Optional: jvbtune/load/sending.py and calendar.py do the same in Python, and are what this is tested against. It is
 * linked with nothing: the caller gives the address of srtp_protect, in the libsrtp that pylibsrtp has loaded. */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    MOST = 64,    /* packets by one system call */
    ROOM = 1536,  /* of one, with what SRTP appends */
    TRAILER = 144,
    FIXED = 12,   /* RTP's fixed header; the front follows, with the two words of extensions that are written here */
    LEAST_FRONT = 12,
    RED_STAMP = -2
};

/* By payload type: where in the payload the time of sending is (-1: nowhere; RED_STAMP: see red_stamp), how many bytes
 * are behind it where the mark is before it (-1: never), and whether the packet has abs-send-time. Then the ids of the
 * extensions, and Opus' payload type. */
struct rules {
    int16_t stamp[128], behind[128];
    uint8_t mark[4];
    uint8_t timed[128];
    uint8_t transport_id, time_id, opus;
};

/* A client's socket and keys. number: of its next packet, transport-wide; below 0: they have none. */
struct port {
    int64_t descriptor, number;
    int (*protect)(void *, void *, int *);
    void *session;
    const struct rules *rules;
};

/* As media/frame.py has it. number: of its first packet, transport-wide; below 0: none. */
struct frame {
    const struct port *port;
    int64_t number;
    uint32_t timestamp, ssrc;
    uint16_t sequence;
    uint8_t type, marker;
    int32_t packets;
};

/* Packets of one client that wait for the system call, and where what is taken of each is counted. */
struct batch {
    const struct port *port;
    unsigned count;
    int64_t *taken[MOST];
    struct iovec vectors[MOST];
    struct mmsghdr messages[MOST];
    uint8_t data[MOST][ROOM];
};

static void put(uint8_t *at, uint64_t value, int bytes)
{
    while (bytes--) {
        at[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* Of redundant audio (RFC 2198): where the primary block begins in the payload. */
static int red_stamp(const uint8_t *payload, int bytes)
{
    int at = 0, blocks = 0;
    for (; at + 4 <= bytes && payload[at] & 0x80; at += 4)
        blocks += (payload[at + 2] & 3) << 8 | payload[at + 3];
    return at + 1 + blocks;
}

/* 0 where there is no room for what is to be written. */
static int fill_in(uint8_t *packet, int bytes, const struct rules *rules, uint64_t wall_ns, int64_t number)
{
    int type = packet[1] & 0x7F, stamp = rules->stamp[type];
    int at = FIXED + 4 + 4 * (packet[FIXED + 2] << 8 | packet[FIXED + 3]);
    if (stamp == RED_STAMP && at < bytes)
        stamp = red_stamp(packet + at, bytes - at) + rules->stamp[rules->opus];
    if (stamp >= 0) {
        if (at + stamp + 8 > bytes)
            return 0;
        put(packet + at + stamp, wall_ns, 8);
    }
    int place = bytes - rules->behind[type] - 8;
    if (rules->behind[type] >= 0 && place - 4 >= at && memcmp(packet + place - 4, rules->mark, 4) == 0)
        put(packet + place, wall_ns, 8);
    int one_byte = packet[12] == 0xBE;
    if (rules->timed[type]) {
        uint64_t second = wall_ns / 1000000000u, rest = wall_ns % 1000000000u;
        uint8_t *at_time = packet + (one_byte ? 19 : 20);
        *at_time++ = one_byte ? (uint8_t)(rules->time_id << 4 | 2) : rules->time_id;
        if (!one_byte)
            *at_time++ = 3;
        put(at_time, (second << 18) + (rest << 18) / 1000000000u, 3);
    }
    if (number >= 0) {
        packet[16] = one_byte ? (uint8_t)(rules->transport_id << 4 | 1) : rules->transport_id;
        if (!one_byte)
            packet[17] = 2;
        put(packet + (one_byte ? 17 : 18), (uint64_t)number, 2);
    }
    return 1;
}

/* A packet that the kernel does not take is lost. */
static void flush(struct batch *batch, int64_t *lost)
{
    for (unsigned at = 0; at < batch->count;) {
        int taken = sendmmsg((int)batch->port->descriptor, batch->messages + at, batch->count - at, 0);
        if (taken <= 0) {
            at++;
            ++*lost;
            continue;
        }
        while (taken--)
            ++*batch->taken[at++];
    }
    batch->count = 0;
}

/* For the next packet of that client. */
static uint8_t *room(struct batch *batch, const struct port *port, int64_t *lost)
{
    if (batch->count > 0 && (port != batch->port || batch->count == MOST))
        flush(batch, lost);
    batch->port = port;
    return batch->data[batch->count];
}

/* The packet that was written there. 0; -1: it has an impossible size; below that, -1 less srtp_protect's status. */
static long add(struct batch *batch, int bytes, uint64_t wall_ns, int64_t number, int64_t *taken)
{
    unsigned at = batch->count;
    const struct port *port = batch->port;
    if (!fill_in(batch->data[at], bytes, port->rules, wall_ns, number))
        return -1;
    int status = port->protect(port->session, batch->data[at], &bytes);
    if (status != 0)
        return -1 - status;
    batch->taken[at] = taken;
    batch->vectors[at] = (struct iovec){batch->data[at], (size_t)bytes};
    batch->messages[at].msg_hdr.msg_iov = &batch->vectors[at];
    batch->messages[at].msg_hdr.msg_iovlen = 1;
    batch->count++;
    return 0;
}

static void write_fixed(uint8_t *packet, int type, int marker, uint16_t sequence, uint32_t timestamp, uint32_t ssrc)
{
    packet[0] = 0x90;
    packet[1] = (uint8_t)(type | (marker ? 0x80 : 0));
    put(packet + 2, sequence, 2);
    put(packet + 4, timestamp, 4);
    put(packet + 8, ssrc, 4);
}

/* fronts and ends: of all packets, one after the other; front_bytes, end_bytes and sizes have a number for each packet;
 * taken one for each frame, 0 at first. As add gives it. */
long send_frames(const struct frame *frames, long count, const uint8_t *fronts, const int32_t *front_bytes,
                 const uint8_t *ends, const int32_t *end_bytes, const int32_t *sizes, uint64_t wall_ns,
                 int64_t *taken)
{
    struct batch batch;
    int64_t lost = 0;
    batch.count = 0;
    memset(batch.messages, 0, sizeof batch.messages);
    for (const struct frame *frame = frames; frame < frames + count; frame++, taken++) {
        for (int32_t i = 0; i < frame->packets; i++) {
            int front = *front_bytes++, end = *end_bytes++, bytes = *sizes++;
            if (front < LEAST_FRONT || bytes < FIXED + front + end || bytes > ROOM - TRAILER)
                return -1;
            uint8_t *packet = room(&batch, frame->port, &lost);
            write_fixed(packet, frame->type, frame->marker && i == frame->packets - 1, (uint16_t)(frame->sequence + i),
                        frame->timestamp, frame->ssrc);
            memcpy(packet + FIXED, fronts, (size_t)front);
            memset(packet + FIXED + front, 0, (size_t)(bytes - FIXED - front - end));
            memcpy(packet + bytes - end, ends, (size_t)end);
            fronts += front;
            ends += end;
            long status = add(&batch, bytes, wall_ns, frame->number < 0 ? -1 : frame->number + i, taken);
            if (status != 0)
                return status;
        }
    }
    flush(&batch, &lost);
    return 0;
}

/* ---- Streams whose frames are made here: cameras of VP8 and microphones, on a calendar of ticks --------------------
 *
 * The same as load/calendar.py, load/camera.py, media/vp8.py and media/speech.py, frame by frame; the structures are
 * those of native/calendar.py, which owns all but the calendar and its events. */

enum {
    SLOTS = 2048,
    HISTORY = 64,  /* frames of a layer, of a second at least */
    VIDEO_CLOCK = 90000,
    AUDIO_CLOCK = 48000,
    PLAIN = 12,    /* header extensions that are empty yet */
    DESCRIPTOR = 6,
    STAMP_PLACE = 12,
    NO_MEMORY = 1,
    RED_TICKS = 1 << 14,
    RED_BYTES = 1 << 10
};

enum { CAMERA_FRAME, CAMERA_PACKETS, MICROPHONE };

static const uint8_t plain[PLAIN] = {0xBE, 0xDE, 0, 2};

/* Who speaks: known until a time of the calendar's clock, then asked for. speaker: -1 in a pause. */
struct floor {
    double until;
    int32_t speaker, number;
};

/* One frame of a layer. */
struct made {
    uint32_t timestamp;
    int32_t bytes;
    uint16_t sequence, picture;
    uint8_t tl0, base, key, unused;
};

struct layer {
    const int32_t *sizes;  /* of a cycle's frames */
    const uint8_t *contents[3];  /* of a frame that nothing refers to, of one that is kept, of a key frame */
    int32_t content_bytes[3];
    int32_t cycle, least_bytes, key_bytes, most_bytes;
    int64_t turn, debt, index, key_frames, packets, octets, taken, recorded;
    uint32_t ssrc, timestamp;
    uint16_t sequence, picture;
    uint8_t tl0, type, active, key_wanted;
    struct made history[HISTORY];
};

struct camera {
    struct port *port;
    struct layer *layers;
    int64_t many;
    double frame_seconds, bytes_per_second, paid, last_key_seconds;
    int64_t pacing, key_wanted;
};

struct microphone {
    struct port *port;
    struct floor *floor;
    const uint8_t *fronts[2];  /* of a packet of the room, and of speech; of RED without the payload */
    const uint8_t *payload;
    int32_t front_bytes[2];
    double step_seconds, since_sent;
    int64_t packets, octets, taken;
    int32_t number, payload_bytes;
    uint32_t ssrc, timestamp, before;
    uint16_t sequence;
    uint8_t type, opus, red, dtx, has_before;
};

/* What the calendar is told, and what it tells: unsent packets, how late each left by upper edges, and the latest. */
struct terms {
    void (*ask)(int32_t floor, double seconds);
    const int32_t *edges_us;
    int64_t *late;  /* one more than there are edges */
    double tick_seconds, burst_seconds, key_seconds, pay_back_ratio, dtx_seconds;
    double latest_us;
    int64_t unsent;
    int32_t edges, at_once;
};

struct event {
    struct event *next;
    void *of;  /* a camera or a microphone */
    struct layer *layer;
    double due;  /* NAN: at the tick under way */
    struct made made;
    int32_t kind, begin, end;
};

struct calendar {
    struct terms *terms;
    struct event *first[SLOTS], *last[SLOTS], *unused;
    struct block {
        struct block *next;
        struct event events[256];
    } *blocks;
    int64_t tick;
    double next_tick;
    unsigned waiting;  /* packets since lateness was last taken */
    uint64_t wall_ns;
    struct batch batch;
};

/* To the even one of two that are as near, as Python's round: for all numbers that are not huge. */
static double nearest(double number)
{
    volatile double shifted = number + 6755399441055744.0;
    return shifted - 6755399441055744.0;
}

static struct event *event_of(struct calendar *c)
{
    if (c->unused == NULL) {
        struct block *block = malloc(sizeof *block);
        if (block == NULL)
            return NULL;
        block->next = c->blocks;
        c->blocks = block;
        for (int i = 0; i < 256; i++) {
            block->events[i].next = c->unused;
            c->unused = &block->events[i];
        }
    }
    struct event *event = c->unused;
    c->unused = event->next;
    memset(event, 0, sizeof *event);
    return event;
}

static void release(struct calendar *c, struct event *event)
{
    event->next = c->unused;
    c->unused = event;
}

static void append(struct calendar *c, int64_t slot, struct event *event)
{
    event->next = NULL;
    if (c->last[slot] != NULL)
        c->last[slot]->next = event;
    else
        c->first[slot] = event;
    c->last[slot] = event;
}

static void in_so_many(struct calendar *c, double seconds, struct event *event)
{
    double ticks = nearest(seconds / c->terms->tick_seconds);
    int64_t ahead = ticks < 1 ? 1 : ticks > SLOTS - 1 ? SLOTS - 1 : (int64_t)ticks;
    append(c, (c->tick + ahead) % SLOTS, event);
}

/* All that waits is as late as the last of it. */
static void take_lateness(struct calendar *c)
{
    flush(&c->batch, &c->terms->unsent);
    if (c->waiting == 0)
        return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double late_us = ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 - c->next_tick) * 1e6;
    int low = 0, high = c->terms->edges;
    while (low < high) {
        int middle = (low + high) / 2;
        if (c->terms->edges_us[middle] < late_us)
            low = middle + 1;
        else
            high = middle;
    }
    c->terms->late[low] += c->waiting;
    if (late_us > c->terms->latest_us)
        c->terms->latest_us = late_us;
    c->waiting = 0;
}

static long leave(struct calendar *c, int bytes, struct port *port, int64_t *taken)
{
    int64_t number = port->number < 0 ? -1 : port->number++;
    long status = add(&c->batch, bytes, c->wall_ns, number, taken);
    if (status != 0)
        return status;
    c->waiting++;
    if (c->waiting >= (unsigned)c->terms->at_once)
        take_lateness(c);
    return 0;
}

static int packets_of(const struct layer *layer, const struct made *made)
{
    return (made->bytes + layer->most_bytes - 1) / layer->most_bytes;
}

/* As few fragments as there may be, evenly split, the larger ones first. */
static int fragment(const struct made *made, int count, int at, int *begin)
{
    int small = made->bytes / count, larger = made->bytes % count;
    *begin = at * small + (at < larger ? at : larger);
    return small + (at < larger);
}

static int packet_bytes(const struct made *made, int count, int at)
{
    int begin;
    return FIXED + PLAIN + DESCRIPTOR + fragment(made, count, at, &begin);
}

static long send_made(struct calendar *c, struct camera *camera, struct layer *layer, const struct made *made,
                      int begin, int end)
{
    int count = packets_of(layer, made), which = made->key ? 2 : made->base;
    int content = layer->content_bytes[which];
    for (int i = begin; i < end; i++) {
        int offset, part = fragment(made, count, i, &offset), bytes = packet_bytes(made, count, i);
        int lead = content - offset < 0 ? 0 : content - offset < part ? content - offset : part;
        if (bytes > ROOM - TRAILER)
            return -1;
        uint8_t *packet = room(&c->batch, camera->port, &c->terms->unsent), *at = packet + FIXED + PLAIN;
        write_fixed(packet, layer->type, i == count - 1, (uint16_t)(made->sequence + i), made->timestamp, layer->ssrc);
        memcpy(packet + FIXED, plain, PLAIN);
        *at++ = (uint8_t)(0x80 | (made->base ? 0 : 0x20) | (i == 0 ? 0x10 : 0));
        *at++ = 0xE0;
        *at++ = (uint8_t)(0x80 | made->picture >> 8);
        *at++ = (uint8_t)made->picture;
        *at++ = made->tl0;
        *at++ = made->base ? 0x20 : 0x60;
        memcpy(at, layer->contents[which] + offset * (lead > 0), (size_t)lead);
        memset(at + lead, 0, (size_t)(part - lead));
        if (part - lead >= STAMP_PLACE)
            memcpy(at + part - STAMP_PLACE, camera->port->rules->mark, 4);
        long status = leave(c, bytes, camera->port, &layer->taken);
        if (status != 0)
            return status;
    }
    return 0;
}

static struct made picture(struct calendar *c, struct layer *layer, double seconds)
{
    int key = layer->key_wanted, base = key || layer->index % 2 == 0;
    layer->key_wanted = 0;
    layer->timestamp = (uint32_t)(int64_t)nearest(seconds * VIDEO_CLOCK);
    layer->key_frames += key;
    layer->index++;
    layer->picture = (layer->picture + 1) & 0x7FFF;
    if (base)
        layer->tl0++;
    int64_t nominal = layer->sizes[layer->turn++ % layer->cycle], size = nominal;
    if (key) {
        size = nominal > layer->key_bytes ? nominal : layer->key_bytes;
    } else if (layer->debt > 0) {
        int64_t back = (int64_t)(c->terms->pay_back_ratio * (double)nominal);
        size = nominal - (layer->debt < back ? layer->debt : back);
        size = size > layer->least_bytes ? size : layer->least_bytes;
    }
    layer->debt += size - nominal;
    struct made made = {layer->timestamp, (int32_t)size, (uint16_t)(layer->sequence + 1), layer->picture, layer->tl0,
                        (uint8_t)base, (uint8_t)key, 0};
    int count = packets_of(layer, &made);
    layer->sequence = (uint16_t)(layer->sequence + count);
    layer->packets += count;
    layer->octets += size + (int64_t)DESCRIPTOR * count;
    layer->history[layer->recorded++ % HISTORY] = made;
    return made;
}

/* After ``delay`` in the pacer; what waits for its time keeps its order. */
static long pace(struct calendar *c, struct camera *camera, struct layer *layer, const struct made *made, double delay,
                 int begin, int end)
{
    if (delay < c->terms->tick_seconds && camera->pacing == 0)
        return send_made(c, camera, layer, made, begin, end);
    struct event *event = event_of(c);
    if (event == NULL)
        return NO_MEMORY;
    camera->pacing++;
    event->kind = CAMERA_PACKETS;
    event->of = camera;
    event->layer = layer;
    event->made = *made;
    event->begin = begin;
    event->end = end;
    in_so_many(c, delay, event);
    return 0;
}

static long film(struct calendar *c, struct camera *camera, double seconds)
{
    if (camera->key_wanted && seconds >= camera->last_key_seconds + c->terms->key_seconds) {
        camera->key_wanted = 0;
        camera->last_key_seconds = seconds;
        for (int64_t i = 0; i < camera->many; i++)
            camera->layers[i].key_wanted = 1;
    }
    for (struct layer *layer = camera->layers; layer < camera->layers + camera->many; layer++) {
        if (!layer->active)
            continue;
        struct made made = picture(c, layer, seconds);
        int count = packets_of(layer, &made), at_once = 0;
        double owed = seconds > camera->paid ? seconds : camera->paid;
        int64_t all_but_last = 0;
        for (int i = 0; i < count - 1; i++)
            all_but_last += packet_bytes(&made, count, i);
        int last = packet_bytes(&made, count, count - 1);
        double before_last = owed + (double)all_but_last / camera->bytes_per_second;
        if (before_last - c->terms->burst_seconds <= seconds) {
            camera->paid = before_last + last / camera->bytes_per_second;
            long status = pace(c, camera, layer, &made, 0.0, 0, count);
            if (status != 0)
                return status;
            continue;
        }
        while (at_once < count && owed - c->terms->burst_seconds - seconds <= 0)
            owed += packet_bytes(&made, count, at_once++) / camera->bytes_per_second;
        long status = at_once ? pace(c, camera, layer, &made, 0.0, 0, at_once) : 0;
        for (int i = at_once; status == 0 && i < count; i++) {
            status = pace(c, camera, layer, &made, owed - c->terms->burst_seconds - seconds, i, i + 1);
            owed += packet_bytes(&made, count, i) / camera->bytes_per_second;
        }
        camera->paid = owed;
        if (status != 0)
            return status;
    }
    return 0;
}

static long speak(struct calendar *c, struct microphone *mike, double seconds)
{
    if (seconds >= mike->floor->until)
        c->terms->ask(mike->floor->number, seconds);
    int talks = mike->floor->speaker == mike->number;
    mike->since_sent += mike->step_seconds;
    mike->timestamp = (uint32_t)(int64_t)nearest(seconds * AUDIO_CLOCK);
    if (mike->dtx && !talks && mike->since_sent < c->terms->dtx_seconds - mike->step_seconds / 2)
        return 0;
    mike->since_sent = 0.0;
    mike->sequence++;
    int front = mike->front_bytes[talks], payload = mike->payload_bytes, headers = 0, redundant = 0;
    if (mike->red) {
        uint32_t ticks = mike->timestamp - mike->before;
        redundant = mike->has_before && ticks < RED_TICKS && payload < RED_BYTES;
        headers = redundant ? 5 + payload : 1;
    }
    int bytes = FIXED + front + headers + (mike->red ? payload : 0);
    if (bytes > ROOM - TRAILER)
        return -1;
    uint8_t *packet = room(&c->batch, mike->port, &c->terms->unsent), *at = packet + FIXED + front;
    write_fixed(packet, mike->type, 0, mike->sequence, mike->timestamp, mike->ssrc);
    memcpy(packet + FIXED, mike->fronts[talks], (size_t)front);
    if (mike->red) {
        if (redundant) {
            put(at, (uint64_t)(0x80 | mike->opus) << 24 | (mike->timestamp - mike->before) << 10 | (uint32_t)payload, 4);
            at += 4;
        }
        *at++ = mike->opus;
        for (int blocks = redundant + 1; blocks--; at += payload)
            memcpy(at, mike->payload, (size_t)payload);
        mike->before = mike->timestamp;
        mike->has_before = 1;
    }
    mike->packets++;
    mike->octets += bytes - FIXED - PLAIN;
    return leave(c, bytes, mike->port, &mike->taken);
}

/* How large each structure is that Python has, too. */
void calendar_layout(int64_t sizes[6])
{
    const int64_t all[6] = {sizeof(struct floor), sizeof(struct made), sizeof(struct layer), sizeof(struct camera),
                            sizeof(struct microphone), sizeof(struct terms)};
    memcpy(sizes, all, sizeof all);
}

struct calendar *calendar_make(struct terms *terms)
{
    struct calendar *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->terms = terms;
    return c;
}

void calendar_free(struct calendar *c)
{
    while (c->blocks != NULL) {
        struct block *next = c->blocks->next;
        free(c->blocks);
        c->blocks = next;
    }
    free(c);
}

/* What is to begin in so many seconds from that tick. 0 or NO_MEMORY. */
static long begin_in(struct calendar *c, int64_t tick, double seconds, void *of, int kind)
{
    struct event *event = event_of(c);
    if (event == NULL)
        return NO_MEMORY;
    event->of = of;
    event->kind = kind;
    event->due = NAN;
    c->tick = tick;
    in_so_many(c, seconds, event);
    return 0;
}

long calendar_film(struct calendar *c, int64_t tick, double seconds, struct camera *camera)
{
    return begin_in(c, tick, seconds, camera, CAMERA_FRAME);
}

long calendar_speak(struct calendar *c, int64_t tick, double seconds, struct microphone *microphone)
{
    return begin_in(c, tick, seconds, microphone, MICROPHONE);
}

/* Nothing of that client from now on: what is known of it here may go away. */
void calendar_forget(struct calendar *c, const struct port *port)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        struct event *event = c->first[slot];
        c->first[slot] = c->last[slot] = NULL;
        while (event != NULL) {
            struct event *next = event->next;
            /* the port is the first member of either */
            if (*(struct port **)event->of == port)
                release(c, event);
            else
                append(c, slot, event);
            event = next;
        }
    }
}

/* Send what is due at a tick, which was to be at ``next_tick`` of CLOCK_MONOTONIC. As send_frames gives it, or
 * NO_MEMORY. */
long calendar_run(struct calendar *c, int64_t tick, double next_tick, uint64_t wall_ns)
{
    int64_t slot = tick % SLOTS;
    struct event *event = c->first[slot];
    c->first[slot] = c->last[slot] = NULL;
    c->tick = tick;
    c->next_tick = next_tick;
    c->wall_ns = wall_ns;
    double now = (double)tick * c->terms->tick_seconds;
    long failed = 0;
    while (event != NULL) {
        struct event *next = event->next;
        double seconds = isnan(event->due) ? now : event->due, step = 0;
        long status = 0;
        if (event->kind == CAMERA_FRAME) {
            struct camera *camera = event->of;
            status = film(c, camera, seconds);
            step = camera->frame_seconds;
        } else if (event->kind == MICROPHONE) {
            struct microphone *mike = event->of;
            status = speak(c, mike, seconds);
            step = mike->step_seconds;
        } else {
            struct camera *camera = event->of;
            camera->pacing--;
            status = send_made(c, camera, event->layer, &event->made, event->begin, event->end);
        }
        if (event->kind == CAMERA_PACKETS) {
            release(c, event);
        } else {
            event->due = seconds + step;
            in_so_many(c, event->due - now, event);
        }
        if (failed == 0)
            failed = status;
        event = next;
    }
    take_lateness(c);
    return failed;
}
