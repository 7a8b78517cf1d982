/*
 * engine_stats.c - leat_stats: what an engine counts, from all of its parts.
 */
#include "api/handles.h"

#include "base/bytes.h"
#include "exec/engine.h"
#include "os/memory_limit.h"

static leat_isa public_isa(isa level)
{
    return level == ISA_AVX512 ? LEAT_ISA_AVX512 : level == ISA_AVX2 ? LEAT_ISA_AVX2 : LEAT_ISA_SCALAR;
}

leat_stats leat_engine_get_stats(const leat_engine *handle)
{
    const engine *e = handle->inner;
    const storage_stats reads = e->reads->ops->stats(e->reads);
    leat_stats stats = {.load_ns = handle->load_ns,
                        .read_count = reads.read_count,
                        .read_bytes = reads.window_bytes,
                        .payload_bytes = reads.payload_bytes,
                        .copied_bytes = reads.copied_bytes + e->trunk->staged_bytes,
                        .read_busy_ns = reads.busy_ns,
                        .read_retries = reads.retry_count,
                        .reads_in_flight = reads.flying_count,
                        .rss_peak_bytes = process_rss_peak_bytes(),
                        .isa = public_isa(e->kernels.level),
                        .io_is_direct = e->direct_file_count == e->source->file_count,
                        .io_is_measured = e->options.io.is_measured,
                        .direct_file_count = e->direct_file_count,
                        .buffered_file_count = e->source->file_count - e->direct_file_count,
                        .attention_ns = step_clock_read(&e->clock, STEP_ATTENTION),
                        .ffn_ns = step_clock_read(&e->clock, STEP_FFN),
                        .router_ns = step_clock_read(&e->clock, STEP_ROUTER),
                        .moe_ns = step_clock_read(&e->clock, STEP_MOE),
                        .head_ns = step_clock_read(&e->clock, STEP_HEAD),
                        .step_other_ns = step_clock_read(&e->clock, STEP_OTHER),
                        .disk_wait_ns = step_clock_read(&e->clock, STEP_DISK_WAIT),
                        .io_engine =
                            e->reads->ops->kind == STORAGE_URING ? LEAT_IO_ENGINE_URING : LEAT_IO_ENGINE_THREADS};

    const weight_ring_stats streamed = weight_ring_stats_get(e->ring);
    stats.streamed_record_count = streamed.record_count;
    stats.streamed_wait_ns = streamed.wait_ns;
    stats.trunk_wait_ns = trunk_wait_ns(e->trunk);
    if (e->experts) {
        const expert_cache_stats cache = expert_cache_stats_get(e->experts);
        stats.expert_hits = cache.hits;
        stats.expert_misses = cache.misses;
        stats.expert_evictions = cache.evictions;
        stats.ahead_reads = cache.ahead_reads;
        stats.ahead_used = cache.ahead_used;
        stats.ahead_wasted = cache.ahead_wasted;
        stats.ahead_used_bytes = cache.ahead_used_bytes;
        stats.ahead_wasted_bytes = cache.ahead_wasted_bytes;
        stats.warmed_experts = cache.warmed;
        stats.expert_wait_ns = cache.wait_ns;
        stats.expert_slot_count = cache.slot_count;
        stats.cache_resizes = cache.resize_count;
    }
    _Static_assert(MEM_POOL_COUNT <= ARRAY_COUNT(stats.pools), "every pool has a place in the public struct");
    for (int pool = 0; pool < MEM_POOL_COUNT; pool++) {
        const mem_usage usage = mem_pool_usage(handle->ledger, (mem_pool)pool);
        stats.pools[stats.pool_count++] =
            (leat_pool){mem_pool_label((mem_pool)pool), usage.current_bytes, usage.peak_bytes};
    }
    return stats;
}
