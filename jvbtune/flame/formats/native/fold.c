/* The inner loops of reading collapsed stacks and the text of perf script: text to numbers of frames.
 *
 * Python keeps the meaning: it calls these with a piece of a file that ends with a line or a block, and gives every name
 * its frame. Whatever is not plainly well-formed ends a call with -1, and Python reads that piece by its own code, which
 * knows the rare forms and names a malformed line. No call writes beyond the room it is given. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t hash;
    size_t start; /* in the arena */
    uint32_t length;
    int32_t id; /* -1: a free slot */
} slot;

typedef struct {
    slot *slots;
    size_t capacity; /* a power of two */
    int32_t count;
    char *arena;
    size_t used, room;
    size_t *starts;
    uint32_t *lengths;
    size_t names_room;
} names;

static inline uint64_t load(const char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

static inline uint64_t mixed(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15ull;
    return h ^ h >> 29;
}

/* Names are compared as a whole where their hashes are equal, so that it may look at some of a long name only: at its
 * end, where names of one package differ, its middle and its beginning. */
static inline uint64_t hash_of_name(const char *text, size_t length)
{
    uint64_t h = length;
    if (length >= 16)
        h = mixed(mixed(mixed(mixed(h, load(text + length - 8)), load(text + length - 16)), load(text + length / 2 - 4)),
                  load(text));
    else
        for (size_t i = 0; i < length; i++)
            h = mixed(h, (unsigned char)text[i]);
    return h ^ h >> 32;
}

static uint64_t hash_of_stack(const char *text, size_t length)
{
    uint64_t h = length;
    for (; length >= 8; text += 8, length -= 8)
        h = mixed(h, load(text));
    for (; length > 0; text++, length--)
        h = mixed(h, (unsigned char)*text);
    return h ^ h >> 32;
}

names *names_new(void)
{
    names *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    table->capacity = 1 << 14;
    table->slots = malloc(table->capacity * sizeof *table->slots);
    if (table->slots == NULL) {
        free(table);
        return NULL;
    }
    for (size_t i = 0; i < table->capacity; i++)
        table->slots[i].id = -1;
    return table;
}

void names_free(names *table)
{
    free(table->slots);
    free(table->arena);
    free(table->starts);
    free(table->lengths);
    free(table);
}

int32_t names_count(const names *table) { return table->count; }

const char *names_get(const names *table, int32_t id, uint32_t *length)
{
    *length = table->lengths[id];
    return table->arena + table->starts[id];
}

/* All names one after another, and how long each is. */
const char *names_all(const names *table) { return table->arena; }

const uint32_t *names_lengths(const names *table) { return table->lengths; }

static int grow_slots(names *table)
{
    size_t capacity = table->capacity * 2;
    slot *slots = malloc(capacity * sizeof *slots);
    if (slots == NULL)
        return 0;
    for (size_t i = 0; i < capacity; i++)
        slots[i].id = -1;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].id < 0)
            continue;
        size_t at = table->slots[i].hash & (capacity - 1);
        while (slots[at].id >= 0)
            at = (at + 1) & (capacity - 1);
        slots[at] = table->slots[i];
    }
    free(table->slots);
    table->slots = slots;
    table->capacity = capacity;
    return 1;
}

static int make_room(names *table, size_t length)
{
    if (table->arena == NULL || table->used + length > table->room) {
        size_t room = (table->room + length) * 2 + 64;
        char *arena = realloc(table->arena, room);
        if (arena == NULL)
            return 0;
        table->arena = arena;
        table->room = room;
    }
    if ((size_t)table->count == table->names_room) {
        size_t room = table->names_room ? table->names_room * 2 : 1024;
        size_t *starts = realloc(table->starts, room * sizeof *starts);
        if (starts == NULL)
            return 0;
        table->starts = starts;
        uint32_t *lengths = realloc(table->lengths, room * sizeof *lengths);
        if (lengths == NULL)
            return 0;
        table->lengths = lengths;
        table->names_room = room;
    }
    return (size_t)table->count * 2 < table->capacity || grow_slots(table);
}

/* The number of a name, a new one where it is new; -1 where memory is out. */
static int32_t intern(names *table, const char *text, size_t length, uint64_t hash)
{
    size_t at = hash & (table->capacity - 1);
    for (; table->slots[at].id >= 0; at = (at + 1) & (table->capacity - 1)) {
        const slot *found = &table->slots[at];
        if (found->hash == hash && found->length == length && memcmp(table->arena + found->start, text, length) == 0)
            return found->id;
    }
    if (length > UINT32_MAX || table->count == INT32_MAX || !make_room(table, length))
        return -1;
    at = hash & (table->capacity - 1); /* the slots may have grown */
    while (table->slots[at].id >= 0)
        at = (at + 1) & (table->capacity - 1);
    memcpy(table->arena + table->used, text, length);
    table->slots[at] = (slot){hash, table->used, (uint32_t)length, table->count};
    table->starts[table->count] = table->used;
    table->lengths[table->count] = (uint32_t)length;
    table->used += length;
    return table->count++;
}

/* The numbers of many stacks, frames[starts[i]] up to frames[ends[i]]. Returns 0, or -1 where memory is out. */
int intern_stacks(names *stacks, const int32_t *frames, const int64_t *starts, const int64_t *ends, long count,
                  int32_t *numbers)
{
    for (long i = 0; i < count; i++) {
        const char *stack = (const char *)(frames + starts[i]);
        size_t bytes = (ends[i] - starts[i]) * sizeof *frames;
        if ((numbers[i] = intern(stacks, stack, bytes, hash_of_stack(stack, bytes))) < 0)
            return -1;
    }
    return 0;
}

/* Lines of collapsed stacks, each with its end of line: for every line the number of its stack, and its weight, a whole
 * number of at most 15 digits. A stack's name is its frames' numbers. For every stack that is new, in order: how many
 * frames, and their numbers. numbers has room for size / 2 + 1, stacks_of, lengths and weights for size / 4 + 1: the
 * shortest line is "a 1" and its end. Returns the number of lines, or -1; new stacks are told in either case. */
long fold_collapsed(names *table, names *stacks, const char *data, long size, int32_t *numbers, int32_t *lengths,
                    int32_t *stack_of, double *weights)
{
    const char *line = data, *end = data + size;
    long lines = 0;
    int32_t *first = numbers;
    while (line < end) {
        const char *stop = memchr(line, '\n', end - line);
        if (stop == NULL || *line == '#')
            return -1;
        const char *digit = stop;
        int64_t weight = 0, scale = 1;
        while (digit > line && digit[-1] >= '0' && digit[-1] <= '9' && stop - digit < 16) {
            digit--;
            weight += scale * (*digit - '0');
            scale *= 10;
        }
        if (digit == stop || stop - digit > 15 || digit - line < 2 || digit[-1] != ' ')
            return -1;
        const char *frame = line, *last = digit - 1;
        int32_t *number = first;
        for (;;) {
            const char *after = memchr(frame, ';', last - frame);
            if (after == NULL)
                after = last;
            if (after == frame)
                return -1;
            if ((*number++ = intern(table, frame, after - frame, hash_of_name(frame, after - frame))) < 0)
                return -1;
            if (after == last)
                break;
            frame = after + 1;
        }
        int32_t known = stacks->count;
        size_t bytes = (number - first) * sizeof *number;
        int32_t stack = intern(stacks, (const char *)first, bytes, hash_of_stack((const char *)first, bytes));
        if (stack < 0)
            return -1;
        if (stacks->count > known) {
            *lengths++ = (int32_t)(number - first);
            first = number;
        }
        stack_of[lines] = stack;
        weights[lines++] = (double)weight;
        line = stop + 1;
    }
    return lines;
}

static int is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/* One line of a frame: "address symbol+0xoffset (module)". Interned as "k" or "u" (kernel, user), symbol, NUL, module. */
static int32_t perf_frame(names *table, const char *line, const char *stop)
{
    char name[4096];
    while (line < stop && (*line == ' ' || *line == '\t'))
        line++;
    while (stop > line && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    const char *address = line;
    while (line < stop && is_hex(*line))
        line++;
    long digits = line - address;
    if (digits < 1 || digits > 16 || stop - line < 5 || *line != ' ' || stop[-1] != ')')
        return -1;
    const char *symbol = line + 1, *last = stop - 1;
    /* a path begins at the first " (/", since it may have brackets itself; others at the last " (" */
    const char *module = symbol;
    while ((module = memchr(module, '(', last - module)) != NULL && !(module[-1] == ' ' && module[1] == '/'))
        module++;
    if (module != NULL) {
        module++;
    } else {
        static const char deleted[] = " (deleted)";
        const size_t mark = sizeof deleted - 1;
        module = last;
        if ((size_t)(last - symbol) > mark && memcmp(last - mark, deleted, mark) == 0)
            module -= mark;
        while (module > symbol + 1 && !(module[-1] == '(' && module[-2] == ' '))
            module--;
    }
    const char *symbol_end = module - 2;
    if (module <= symbol + 1 || symbol_end <= symbol)
        return -1;
    const char *at = symbol_end; /* an offset is at the end only */
    while (at > symbol && is_hex(at[-1]))
        at--;
    if (at < symbol_end && at - symbol > 3 && at[-1] == 'x' && at[-2] == '0' && at[-3] == '+')
        symbol_end = at - 3;
    size_t symbol_length = symbol_end - symbol, module_length = stop - 1 - module;
    if (symbol_length + module_length + 2 > sizeof name || memchr(symbol, 0, stop - symbol) != NULL)
        return -1;
    name[0] = digits == 16 && memcmp(address, "ffff8", 5) >= 0 ? 'k' : 'u';
    memcpy(name + 1, symbol, symbol_length);
    name[1 + symbol_length] = 0;
    memcpy(name + 2 + symbol_length, module, module_length);
    size_t length = symbol_length + module_length + 2;
    return intern(table, name, length, hash_of_stack(name, length)); /* modules end alike */
}

/* Blocks of perf script, each with the empty line that ends it. For every block: where its header is (start and end, in
 * headers), how many frames, and these root first. ids has room for size / 8 + 1 numbers, lengths for size / 2 + 1,
 * headers for twice that. Returns the number of blocks, or -1. */
long fold_perf(names *table, const char *data, long size, int32_t *ids, int32_t *lengths, int32_t *headers)
{
    const char *line = data, *end = data + size;
    long blocks = 0;
    int32_t *id = ids;
    while (line < end) {
        const char *stop = memchr(line, '\n', end - line);
        if (stop == NULL || stop == line || *line == '#')
            return -1;
        headers[2 * blocks] = (int32_t)(line - data);
        headers[2 * blocks + 1] = (int32_t)(stop - data);
        int32_t *first = id;
        for (line = stop + 1;; line = stop + 1) {
            if (line >= end || (stop = memchr(line, '\n', end - line)) == NULL)
                return -1;
            if (stop == line)
                break;
            if ((*id++ = perf_frame(table, line, stop)) < 0)
                return -1;
        }
        line = stop + 1;
        lengths[blocks++] = (int32_t)(id - first);
        for (int32_t *low = first, *high = id - 1; low < high; low++, high--) {
            int32_t other = *low;
            *low = *high;
            *high = other;
        }
    }
    return blocks;
}
