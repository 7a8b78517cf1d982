/*
 * verify.c - reads a checkpoint whole and says whether it can be trusted.
 *
 * Two questions. Is the content what was published? In a Hugging Face cache a file is a link whose target is named
 * after the content: 64 hexadecimal digits are its SHA-256, 40 are the SHA-1 that git gives a blob (of "blob LENGTH", a
 * NUL, then the content). Elsewhere there is nothing to compare with. And does it hold numbers only? A NaN or an
 * infinity in a float tensor, a scale or a zero offset spoils every answer, however it came there.
 *
 * A packed checkpoint carries checksums of its own (pack_manifest.h), one for every tensor and every expert's record.
 *
 * One pass: a file is read in blocks, each block is hashed and scanned while it is in memory. Because a tensor may
 * begin at any byte, an element can straddle two blocks: the last bytes of a block are kept in front of the next one,
 * and an element is looked at in the block in which it ends.
 *
 *   buffer:   [ CARRY_BYTES of the block before | BLOCK_BYTES of this one ]
 *
 * Threads: any one thread; the checkpoint is only read.
 */
#include "exec/checkpoint.h"

#include "base/bytes.h"
#include "base/cancel.h"
#include "exec/pack_manifest.h"
#include "format/tensor_sort.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

enum {
    BLOCK_BYTES = 4 << 20,
    CARRY_BYTES = 64, /* at least the largest element less one; a cache line, so that the block stays aligned */
    SHA256_DIGITS = 64,
    SHA1_DIGITS = 40,
    SHOWN_BYTES_MAX = 200,
};

typedef struct verifier {
    const checkpoint *c;
    checkpoint_progress *progress;
    void *user;
    const volatile int *cancel;
    uint8_t *buffer;          /* (CARRY_BYTES + BLOCK_BYTES) */
    const tensor **by_offset; /* (tensor count) by file, then by offset */
    uint64_t done_bytes, total_bytes;
    bool is_packed;
    pack_manifest manifest; /* of a packed checkpoint */
} verifier;

/* ---- numbers that are none ---- */

typedef enum scan_kind {
    SCAN_NOTHING,
    SCAN_F64,
    SCAN_F32,
    SCAN_F16,
    SCAN_BF16,
    SCAN_E8M0,
    SCAN_E4M3,
    SCAN_E5M2
} scan_kind;

/* MLX stores the scales of mxfp4 and mxfp8 as E8M0 and those of nvfp4 as E4M3, both as U8. Which one is seen from the
 * shapes: nvfp4 has groups of 16 four-bit elements, so two 32-bit words share a scale; in mxfp4 four do, in mxfp8
 * eight. */
static scan_kind kind_of_byte_scales(const tensor_index *index, const tensor *scales, size_t stem_length)
{
    char weight_name[TENSOR_NAME_BYTES_MAX + 16];
    snprintf(weight_name, sizeof weight_name, "%.*s.weight", (int)stem_length, scales->name);
    const tensor *weight = tensor_index_find(index, weight_name);
    if (!weight || weight->rank == 0 || scales->rank == 0) return SCAN_E8M0;
    uint64_t words = weight->dims[weight->rank - 1], groups = scales->dims[scales->rank - 1];
    return groups > 0 && words % groups == 0 && words / groups == 2 ? SCAN_E4M3 : SCAN_E8M0;
}

static scan_kind scan_kind_of(const tensor_index *index, const tensor *t)
{
    static const char suffix[] = ".scales";
    size_t length = strlen(t->name), suffix_length = sizeof suffix - 1;
    switch (t->type) {
    case DTYPE_F64: return SCAN_F64;
    case DTYPE_F32: return SCAN_F32;
    case DTYPE_F16: return SCAN_F16;
    case DTYPE_BF16: return SCAN_BF16;
    case DTYPE_F8_E8M0: return SCAN_E8M0;
    case DTYPE_F8_E4M3: return SCAN_E4M3;
    case DTYPE_F8_E5M2: return SCAN_E5M2;
    case DTYPE_U8:
        if (length <= suffix_length || strcmp(t->name + length - suffix_length, suffix) != 0) return SCAN_NOTHING;
        return kind_of_byte_scales(index, t, length - suffix_length);
    default: return SCAN_NOTHING;
    }
}

/* The first of `count` elements that is a NaN or an infinity, or `count`. In the binary formats those have all exponent
 * bits set; E8M0 and E4M3 have no infinity and one pattern (E4M3: of either sign) for NaN. `bytes` is not aligned. */
#define DEFINE_FINDER(name, type, is_bad)                                                                              \
    static uint64_t name(const uint8_t *bytes, uint64_t count)                                                         \
    {                                                                                                                  \
        for (uint64_t begin = 0; begin < count;) {                                                                     \
            uint64_t end = min_u64(begin + 4096, count);                                                               \
            unsigned bad = 0;                                                                                          \
            for (uint64_t i = begin; i < end; i++) { /* without a branch */                                            \
                type v;                                                                                                \
                memcpy(&v, bytes + i * sizeof v, sizeof v);                                                            \
                bad |= (is_bad);                                                                                       \
            }                                                                                                          \
            for (uint64_t i = begin; bad && i < end; i++) {                                                            \
                type v;                                                                                                \
                memcpy(&v, bytes + i * sizeof v, sizeof v);                                                            \
                if (is_bad) return i;                                                                                  \
            }                                                                                                          \
            begin = end;                                                                                               \
        }                                                                                                              \
        return count;                                                                                                  \
    }

DEFINE_FINDER(find_bad_f64, uint64_t, (v & 0x7ff0000000000000u) == 0x7ff0000000000000u)
DEFINE_FINDER(find_bad_f32, uint32_t, (v & 0x7f800000u) == 0x7f800000u)
DEFINE_FINDER(find_bad_f16, uint16_t, (v & 0x7c00u) == 0x7c00u)
DEFINE_FINDER(find_bad_bf16, uint16_t, (v & 0x7f80u) == 0x7f80u)
DEFINE_FINDER(find_bad_e8m0, uint8_t, v == 0xffu)
DEFINE_FINDER(find_bad_e4m3, uint8_t, (v & 0x7fu) == 0x7fu)
DEFINE_FINDER(find_bad_e5m2, uint8_t, (v & 0x7cu) == 0x7cu)

static const struct {
    uint32_t element_bytes;
    uint64_t (*find_bad)(const uint8_t *bytes, uint64_t count);
} scans[] = {
    [SCAN_F64] = {8, find_bad_f64},   [SCAN_F32] = {4, find_bad_f32},   [SCAN_F16] = {2, find_bad_f16},
    [SCAN_BF16] = {2, find_bad_bf16}, [SCAN_E8M0] = {1, find_bad_e8m0}, [SCAN_E4M3] = {1, find_bad_e4m3},
    [SCAN_E5M2] = {1, find_bad_e5m2},
};

/* The elements of `t` that end inside the block [begin, end) of its file; block[0] is byte `begin`, and CARRY_BYTES
 * before it are there. */
static leat_status scan_tensor(const verifier *v, const tensor *t, const uint8_t *block, uint64_t begin, uint64_t end,
                               leat_error *error)
{
    scan_kind kind = scan_kind_of(&v->c->index, t);
    if (kind == SCAN_NOTHING) return LEAT_OK;
    uint64_t size = scans[kind].element_bytes;
    uint64_t first = t->offset < begin ? (begin - t->offset) / size : 0;
    uint64_t past = (min_u64(t->offset + t->bytes, end) - t->offset) / size;
    if (first >= past) return LEAT_OK;

    int64_t start = (int64_t)(t->offset + first * size) - (int64_t)begin; /* > -8 */
    assert(start > -CARRY_BYTES);
    uint64_t bad = scans[kind].find_bad(block + start, past - first);
    if (bad == past - first) return LEAT_OK;

    const uint8_t *element = block + start + bad * size;
    char digits[2 * 8 + 1];
    for (uint64_t i = 0; i < size; i++) snprintf(digits + 2 * i, 3, "%02x", element[size - 1 - i]);
    return FAIL(error, MODEL,
                "%s: tensor %.*s holds a NaN or an infinity (%s 0x%s) at byte %llu of the file, element %llu",
                v->c->file_names[t->file_idx], SHOWN_BYTES_MAX, t->name, dtype_label(t->type), digits,
                (unsigned long long)(t->offset + (first + bad) * size), (unsigned long long)(first + bad));
}

/* by_offset[*next..last) are the tensors of this file; *next moves past those that end in this block. */
static leat_status scan_block(const verifier *v, const uint8_t *block, uint64_t begin, uint64_t end, uint64_t *next,
                              uint64_t last, leat_error *error)
{
    while (*next < last && v->by_offset[*next]->offset < end) {
        const tensor *t = v->by_offset[*next];
        TRY(scan_tensor(v, t, block, begin, end, error));
        if (t->offset + t->bytes > end) break;
        ++*next;
    }
    return LEAT_OK;
}

static bool lies_before(const tensor *a, const tensor *b) { return tensor_order_by_place(a, b) < 0; }

static void sink(const tensor **heap, uint64_t count, uint64_t idx)
{
    const tensor *moved = heap[idx];
    for (uint64_t child; (child = 2 * idx + 1) < count; idx = child) {
        if (child + 1 < count && lies_before(heap[child], heap[child + 1])) child++;
        if (!lies_before(moved, heap[child])) break;
        heap[idx] = heap[child];
    }
    heap[idx] = moved;
}

/* A heap sort: in place, where qsort may take memory behind the ledger's back. */
static void sort_by_place(const tensor **tensors, uint64_t count)
{
    for (uint64_t i = count / 2; i-- > 0;) sink(tensors, count, i);
    for (uint64_t left = count; left > 1; left--) {
        const tensor *last = tensors[0];
        tensors[0] = tensors[left - 1];
        tensors[left - 1] = last;
        sink(tensors, left - 1, 0);
    }
}

/* ---- checksums ---- */

typedef struct checksum {
    EVP_MD_CTX *context; /* NULL: nothing to compare with */
    char expected[SHA256_DIGITS + 1];
} checksum;

/* Whether `name` is a link into a folder "blobs" to a file named after its content; then its digits. */
static bool read_blob_name(int folder_fd, const char *name, char out_digits[SHA256_DIGITS + 1])
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(folder_fd, name, target, sizeof target - 1);
    if (length < 0 || (size_t)length >= sizeof target - 1) return false;
    target[length] = 0;
    static const char folder[] = "blobs";
    char *digits = strrchr(target, '/');
    if (!digits) return false;
    *digits++ = 0;
    char *parent = strrchr(target, '/');
    if (strcmp(parent ? parent + 1 : target, folder) != 0) return false;
    size_t digit_count = strlen(digits);
    if (digit_count != SHA256_DIGITS && digit_count != SHA1_DIGITS) return false;
    if (strspn(digits, "0123456789abcdef") != digit_count) return false;
    memcpy(out_digits, digits, digit_count + 1);
    return true;
}

static leat_status open_checksum(const verifier *v, const char *name, uint64_t file_bytes, checksum *out_sum,
                                 leat_error *error)
{
    checksum sum = {0};
    if (read_blob_name(v->c->folder_fd, name, sum.expected)) {
        bool is_git = strlen(sum.expected) == SHA1_DIGITS;
        char prefix[40];
        int prefix_length =
            snprintf(prefix, sizeof prefix, "blob %llu", (unsigned long long)file_bytes) + 1; /* with its NUL */
        sum.context = EVP_MD_CTX_new();
        if (!sum.context) return FAIL(error, NO_MEMORY, "%s: no memory for a checksum", name);
        if (EVP_DigestInit_ex(sum.context, is_git ? EVP_sha1() : EVP_sha256(), NULL) != 1 ||
            (is_git && EVP_DigestUpdate(sum.context, prefix, (size_t)prefix_length) != 1)) {
            EVP_MD_CTX_free(sum.context);
            return FAIL(error, INTERNAL, "%s: the cryptographic library has no %s", name, is_git ? "SHA-1" : "SHA-256");
        }
    }
    *out_sum = sum;
    return LEAT_OK;
}

static void close_checksum(checksum *sum)
{
    EVP_MD_CTX_free(sum->context);
    sum->context = NULL;
}

static leat_status add_to_checksum(checksum *sum, const uint8_t *bytes, uint64_t count, const char *name,
                                   leat_error *error)
{
    if (!sum->context || EVP_DigestUpdate(sum->context, bytes, count) == 1) return LEAT_OK;
    return FAIL(error, INTERNAL, "%s: the cryptographic library failed", name);
}

static leat_status compare_checksum(checksum *sum, const char *name, leat_error *error)
{
    if (!sum->context) return LEAT_OK;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_bytes = 0;
    if (EVP_DigestFinal_ex(sum->context, digest, &digest_bytes) != 1 || digest_bytes * 2 != strlen(sum->expected)) {
        return FAIL(error, INTERNAL, "%s: the cryptographic library failed", name);
    }
    char found[2 * EVP_MAX_MD_SIZE + 1];
    for (unsigned i = 0; i < digest_bytes; i++) snprintf(found + 2 * i, 3, "%02x", digest[i]);
    if (strcmp(found, sum->expected) == 0) return LEAT_OK;
    leat_status status = FAIL(error, MODEL, "%s: damaged: the content's %s is %s, but the file was published as %s",
                              name, digest_bytes * 2 == SHA1_DIGITS ? "git SHA-1" : "SHA-256", found, sum->expected);
    status_hint(error, "remove blobs/%s from the Hugging Face cache and download the model again", sum->expected);
    return status;
}

/* ---- checksums of a packed checkpoint ---- */

typedef struct span_sums {
    EVP_MD_CTX *context; /* NULL: the file is not listed */
    const pack_file *listed;
    uint64_t span_idx, begin, have; /* the span under way: where it begins, how much of it was seen */
} span_sums;

static leat_status open_manifest(verifier *v, leat_error *error)
{
    char *text = NULL;
    uint64_t bytes = 0;
    TRY(checkpoint_load_text(v->c, PACK_MANIFEST_NAME, v->c->ledger, MEM_META, &text, &bytes, error));
    v->is_packed = text != NULL;
    leat_status status = LEAT_OK;
    if (v->is_packed) {
        pack_manifest_init(&v->manifest, v->c->ledger);
        status = pack_manifest_parse(&v->manifest, text, bytes, error);
    }
    mem_free(v->c->ledger, text);
    for (uint32_t i = 0; status == LEAT_OK && v->is_packed && i < v->c->file_count; i++)
        if (!pack_manifest_find(&v->manifest, v->c->file_names[i]))
            status =
                FAIL(error, MODEL, "%s: not one of the files that " PACK_MANIFEST_NAME " lists", v->c->file_names[i]);
    for (uint32_t i = 0; status == LEAT_OK && i < v->manifest.file_count; i++) {
        const char *name = v->manifest.files[i].name;
        if (faccessat(v->c->folder_fd, name, F_OK, 0) != 0)
            status = FAIL(error, MODEL, "%s: missing; " PACK_MANIFEST_NAME " lists it", name);
    }
    return status;
}

static leat_status open_span_sums(const verifier *v, const char *name, uint64_t file_bytes, span_sums *out_sums,
                                  leat_error *error)
{
    span_sums sums = {.listed = v->is_packed ? pack_manifest_find(&v->manifest, name) : NULL};
    if (sums.listed) {
        if (sums.listed->bytes != file_bytes)
            return FAIL(error, MODEL, "%s: damaged: has %llu bytes, " PACK_MANIFEST_NAME " says %llu", name,
                        (unsigned long long)file_bytes, (unsigned long long)sums.listed->bytes);
        sums.context = EVP_MD_CTX_new();
        if (!sums.context) return FAIL(error, NO_MEMORY, "%s: no memory for a checksum", name);
        if (EVP_DigestInit_ex(sums.context, EVP_sha256(), NULL) != 1) {
            EVP_MD_CTX_free(sums.context);
            return FAIL(error, INTERNAL, "%s: the cryptographic library has no SHA-256", name);
        }
    }
    *out_sums = sums;
    return LEAT_OK;
}

static leat_status compare_span(span_sums *sums, const pack_span *span, const char *name, leat_error *error)
{
    uint8_t digest[PACK_DIGEST_BYTES];
    if (EVP_DigestFinal_ex(sums->context, digest, NULL) != 1 ||
        EVP_DigestInit_ex(sums->context, EVP_sha256(), NULL) != 1)
        return FAIL(error, INTERNAL, "%s: the cryptographic library failed", name);
    if (memcmp(digest, span->digest, sizeof digest) == 0) return LEAT_OK;
    char found[PACK_DIGEST_TEXT], expected[PACK_DIGEST_TEXT];
    pack_digest_text(digest, found);
    pack_digest_text(span->digest, expected);
    leat_status status =
        FAIL(error, MODEL, "%s: damaged: the %llu bytes from byte %llu on have the SHA-256 %s, packed were %s", name,
             (unsigned long long)span->bytes, (unsigned long long)sums->begin, found, expected);
    status_hint(error, "pack the model again");
    return status;
}

static leat_status add_to_span_sums(span_sums *sums, const uint8_t *bytes, uint64_t count, const char *name,
                                    leat_error *error)
{
    while (sums->context && count > 0) {
        const pack_span *span = &sums->listed->spans[sums->span_idx]; /* as many bytes as the file has */
        const uint64_t taken = min_u64(count, span->bytes - sums->have);
        if (EVP_DigestUpdate(sums->context, bytes, taken) != 1)
            return FAIL(error, INTERNAL, "%s: the cryptographic library failed", name);
        bytes += taken;
        count -= taken;
        sums->have += taken;
        if (sums->have < span->bytes) break;
        TRY(compare_span(sums, span, name, error));
        sums->begin += span->bytes;
        sums->have = 0;
        sums->span_idx++;
    }
    return LEAT_OK;
}

/* ---- files ---- */

/* Reads `f` whole. [next, last) are its tensors in by_offset, none for a file without weights. A checksum that differs
 * is reported rather than the NaN that comes with it. */
static leat_status verify_file(verifier *v, const file *f, const char *name, uint64_t next, uint64_t last,
                               leat_error *error)
{
    checksum sum;
    span_sums spans;
    TRY(open_span_sums(v, name, f->bytes, &spans, error));
    leat_status opened = open_checksum(v, name, f->bytes, &sum, error);
    if (opened != LEAT_OK) {
        EVP_MD_CTX_free(spans.context);
        return opened;
    }
    uint8_t *block = v->buffer + CARRY_BYTES;
    leat_status status = LEAT_OK, scan_status = LEAT_OK;
    for (uint64_t begin = 0; begin < f->bytes;) {
        uint64_t count = min_u64(BLOCK_BYTES, f->bytes - begin);
        if (cancel_is_wanted(v->cancel)) {
            status =
                FAIL(error, CANCELLED, "the check was cancelled at byte %llu of %s", (unsigned long long)begin, name);
            goto done;
        }
        TRY_OR(done, file_read(f, name, begin, block, count, NULL, error));
        TRY_OR(done, add_to_checksum(&sum, block, count, name, error));
        TRY_OR(done, add_to_span_sums(&spans, block, count, name, error));
        if (scan_status == LEAT_OK) scan_status = scan_block(v, block, begin, begin + count, &next, last, error);
        if (scan_status != LEAT_OK && !sum.context) break;                 /* nothing more to learn from this file */
        memcpy(v->buffer, block + BLOCK_BYTES - CARRY_BYTES, CARRY_BYTES); /* only the last block is shorter */
        begin += count;
        v->done_bytes += count;
        if (v->progress) v->progress(v->user, "check", v->done_bytes, v->total_bytes);
    }
    status = compare_checksum(&sum, name, error);
    if (status == LEAT_OK) status = scan_status;
done:
    close_checksum(&sum);
    EVP_MD_CTX_free(spans.context);
    return status;
}

static leat_status verify_weights(verifier *v, leat_error *error)
{
    uint64_t next = 0;
    for (uint32_t i = 0; i < v->c->file_count; i++) {
        uint64_t first = next;
        while (next < v->c->index.count && v->by_offset[next]->file_idx == i) next++;
        TRY(verify_file(v, &v->c->files[i], v->c->file_names[i], first, next, error));
    }
    return LEAT_OK;
}

static bool is_weight_file(const checkpoint *c, const char *name)
{
    for (uint32_t i = 0; i < c->file_count; i++) {
        if (strcmp(c->file_names[i], name) == 0) return true;
    }
    return false;
}

/* The other files are worth reading only where there is something to compare them with. Called twice: first only to add
 * to total_bytes. */
static leat_status verify_other_files(verifier *v, bool is_counting, leat_error *error)
{
    const checkpoint *c = v->c;
    DIR *listing = file_list(c->folder_fd, ".");
    if (!listing) return FAIL_OS(error, IO, errno, "%s: cannot be listed", c->path);
    leat_status status = LEAT_OK;
    for (const struct dirent *entry; status == LEAT_OK && (entry = readdir(listing));) {
        char digits[SHA256_DIGITS + 1], path[PATH_MAX + 2];
        file other = {.fd = -1};
        const bool is_listed = v->is_packed && pack_manifest_find(&v->manifest, entry->d_name);
        if (is_weight_file(c, entry->d_name)) continue;
        if (!is_listed && !read_blob_name(c->folder_fd, entry->d_name, digits)) continue;
        snprintf(path, sizeof path, "%s/%s", c->below_root, entry->d_name);
        status = file_open(c->root_fd, path, true, FILE_BUFFERED, &other, error);
        if (status != LEAT_OK) break;
        if (is_counting) {
            v->total_bytes += other.bytes;
        } else {
            status = verify_file(v, &other, entry->d_name, 0, 0, error);
        }
        file_close(&other);
    }
    closedir(listing);
    return status;
}

leat_status checkpoint_verify(const checkpoint *c, checkpoint_progress *progress, void *user,
                              const volatile int *cancel, uint64_t *out_bytes, leat_error *error)
{
    assert(c);
    leat_status status = LEAT_OK;
    verifier v = {.c = c, .progress = progress, .user = user, .cancel = cancel};
    TRY_OR(done, mem_alloc(c->ledger, MEM_IO, CARRY_BYTES + BLOCK_BYTES, 1, CARRY_BYTES, "buffer of the check",
                           (void **)&v.buffer, error));
    TRY_OR(done, MEM_NEW(c->ledger, META, c->index.count, &v.by_offset, error));
    for (uint64_t i = 0; i < c->index.count; i++) v.by_offset[i] = &c->index.tensors[i];
    sort_by_place(v.by_offset, c->index.count);
    TRY_OR(done, open_manifest(&v, error));

    for (uint32_t i = 0; i < c->file_count; i++) v.total_bytes += c->files[i].bytes;
    TRY_OR(done, verify_other_files(&v, true, error));
    TRY_OR(done, verify_weights(&v, error));
    TRY_OR(done, verify_other_files(&v, false, error));
    if (out_bytes) *out_bytes = v.done_bytes;
done:
    pack_manifest_reset(&v.manifest);
    mem_free(c->ledger, v.by_offset);
    mem_free(c->ledger, v.buffer);
    return status;
}
