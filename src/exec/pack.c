/*
 * pack.c - from a checkpoint to one whose experts lie in one piece each.
 *
 *   layout   what the new files hold, and where in the source it comes from (pack_layout.h)
 *   folder   the unfinished folder and its manifest (pack_folder.h)
 *   writer   the weight files (pack_writer.h); texts: the others (pack_texts.h)
 *   compare  with the source, before the folder gets its name (pack_compare.h)
 *
 * The checksums of what was read are written into the manifest (pack_manifest.h) as each file is finished; an
 * interrupted pack goes on from there, if its source and layout are the same (`source` of the manifest is a digest of
 * both).
 *
 * Threads: one; the source is only read.
 */
#include "exec/pack.h"

#include "exec/pack_compare.h"
#include "exec/pack_folder.h"
#include "exec/pack_layout.h"
#include "exec/pack_texts.h"
#include "exec/pack_writer.h"

typedef struct packer {
    const pack_request *request;
    mem *ledger;
    pack_layout layout;
    pack_folder folder;
    uint8_t *block, *other_block; /* (PACK_BLOCK_BYTES) */
    pack_result result;
} packer;

static leat_status open_packer(packer *p, leat_error *error)
{
    const pack_request *r = p->request;
    TRY(mem_alloc(p->ledger, MEM_IO, PACK_BLOCK_BYTES, 1, 4096, "buffer of a pack", (void **)&p->block, error));
    TRY(mem_alloc(p->ledger, MEM_IO, PACK_BLOCK_BYTES, 1, 4096, "buffer of a pack", (void **)&p->other_block, error));
    TRY(pack_layout_make(&p->layout, r->file_bytes, error));
    TRY(pack_layout_identify(&p->layout, p->folder.manifest.source, error));
    return pack_folder_open(&p->folder, r->folder, error);
}

static leat_status write_all(packer *p, leat_error *error)
{
    pack_writer writer = {.request = p->request, .layout = &p->layout, .folder = &p->folder, .block = p->block};
    TRY(pack_writer_write(&writer, error));
    TRY(pack_texts_write(&p->folder, &p->layout, error));
    TRY(pack_folder_save(&p->folder, error));
    p->result = (pack_result){.bytes = p->layout.bytes,
                              .kept_bytes = writer.kept_bytes,
                              .padding_bytes = p->layout.padding_bytes,
                              .record_count = p->layout.record_count,
                              .file_count = p->layout.shard_count};
    return LEAT_OK;
}

static leat_status publish(packer *p, leat_error *error)
{
    TRY(pack_compare(p->request, &p->layout, p->folder.path, p->block, p->other_block, error));
    return pack_folder_publish(&p->folder, error);
}

static void close_packer(packer *p)
{
    pack_folder_close(&p->folder);
    pack_layout_reset(&p->layout);
    mem_free(p->ledger, p->block);
    mem_free(p->ledger, p->other_block);
    mem_close(&p->ledger);
}

leat_status pack_write(const pack_request *request, pack_result *out_result, leat_error *error)
{
    leat_status status;
    packer p = {.request = request};
    if (!request->model->moe_layer_count)
        return FAIL(error, MODEL, "the model has no experts: there is nothing that a pack would make faster");
    TRY(mem_open(0, &p.ledger, error));
    pack_layout_init(&p.layout, p.ledger, request->source, request->model);
    pack_folder_init(&p.folder, p.ledger);
    TRY_OR(done, open_packer(&p, error));
    TRY_OR(done, write_all(&p, error));
    TRY_OR(done, publish(&p, error));
    *out_result = p.result;
done:
    close_packer(&p);
    return status;
}
