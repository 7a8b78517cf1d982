/*
 * products.c - the parallel loops that blocks share. Work is split by output row or by token row, never along a sum, so
 * the number of tasks never shows in a result.
 */
#include "exec/step.h"

#include "base/bytes.h"

#include <assert.h>

/* A task should be long against waking a thread (a few microseconds) and short against the whole; rows in multiples of
 * the widest tile. */
enum { ROW_UNIT = 16, TASKS_PER_THREAD = 4, WORK_MIN = 16384 };

typedef struct product_loop {
    const step *s;
    const product *products;
    uint32_t count;
    uint64_t rows_per_task[PRODUCTS_MAX];
    uint32_t first_task[PRODUCTS_MAX + 1];
} product_loop;

static void multiply_task(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    const product_loop *l = context;
    uint32_t low = 0, high = l->count;

    (void)thread_idx;
    while (high - low > 1) { /* the product whose tasks hold task_idx */
        const uint32_t middle = low + (high - low) / 2;
        if (l->first_task[middle] <= task_idx)
            low = middle;
        else
            high = middle;
    }
    const product *p = &l->products[low];
    const uint64_t begin = (task_idx - l->first_task[low]) * l->rows_per_task[low];
    const uint64_t end = min_u64(begin + l->rows_per_task[low], p->w->shape.rows);
    l->s->engine->kernels.matmul[p->w->shape.type](p->w, begin, end, p->x, p->x_stride, p->token_count, p->y,
                                                   p->y_stride);
}

void run_products(const step *s, const product *products, uint32_t count)
{
    const uint32_t thread_count = thread_pool_thread_count(s->engine->threads);
    product_loop l = {.s = s, .products = products, .count = count};
    uint64_t work = 0;

    assert(count <= PRODUCTS_MAX);
    for (uint32_t i = 0; i < count; i++)
        work += products[i].w->shape.rows * products[i].w->shape.cols * products[i].token_count;
    const uint64_t work_per_task = max_u64(WORK_MIN, work / ((uint64_t)thread_count * TASKS_PER_THREAD));
    for (uint32_t i = 0; i < count; i++) {
        const matrix_shape *shape = &products[i].w->shape;
        const uint64_t rows =
            round_up(div_up(work_per_task, max_u64(1, shape->cols * products[i].token_count)), ROW_UNIT);
        l.rows_per_task[i] = rows;
        l.first_task[i + 1] = l.first_task[i] + (uint32_t)div_up(shape->rows, rows);
    }
    thread_pool_run(s->engine->threads, multiply_task, &l, l.first_task[count]);
}

void run_product(const step *s, const matrix *w, const float *x, float *y)
{
    const product p = {
        .w = w, .x = x, .x_stride = w->shape.cols, .token_count = s->row_count, .y = y, .y_stride = w->shape.rows};
    run_products(s, &p, 1);
}

typedef struct norm_loop {
    const step *s;
    const float *weights, *x;
    float *y;
    uint32_t width;
} norm_loop;

static void norm_task(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    const norm_loop *l = context;
    const size_t at = (size_t)task_idx * l->width;

    (void)thread_idx;
    l->s->engine->kernels.rms_norm_f32(l->x + at, l->weights, l->s->engine->model->norm_eps, l->y + at, l->width);
}

void run_norm(const step *s, vector_id norm, const float *x, float *y, uint32_t count, uint32_t width)
{
    norm_loop l = {s, step_vector(s, norm), x, y, width};
    thread_pool_run(s->engine->threads, norm_task, &l, count);
}

void run_bias(const step *s, vector_id bias, float *y, uint32_t count, uint32_t width)
{
    if (bias == NO_ID) return;
    for (uint32_t i = 0; i < count; i++) s->engine->kernels.add_f32(y + (size_t)i * width, step_vector(s, bias), width);
}

enum { ACTIVATION_UNIT = 4096 };

typedef struct activation_loop {
    const step *s;
    activation act;
    float *gate;
    const float *up;
    uint64_t count;
} activation_loop;

static void activation_task(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    const activation_loop *l = context;
    const uint64_t begin = (uint64_t)task_idx * ACTIVATION_UNIT, count = min_u64(ACTIVATION_UNIT, l->count - begin);
    const kernel_table *k = &l->s->engine->kernels;

    (void)thread_idx;
    (l->act == ACTIVATION_SILU ? k->silu_mul_f32 : k->gelu_mul_f32)(l->gate + begin, l->up + begin, l->gate + begin,
                                                                    count);
}

void run_activation(const step *s, activation act, float *gate, const float *up, uint64_t count)
{
    activation_loop l = {s, act, gate, up, count};
    thread_pool_run(s->engine->threads, activation_task, &l, (uint32_t)div_up(count, ACTIVATION_UNIT));
}
