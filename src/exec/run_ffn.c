#include "exec/step.h"

void run_ffn(const step *s, const ffn_block *f, const float *x, float *y)
{
    const scratch *m = &s->engine->scratch;
    const matrix *gate = step_matrix(s, f->gate), *up = step_matrix(s, f->up);
    const product both[2] = {
        {.w = gate,
         .x = x,
         .x_stride = gate->shape.cols,
         .token_count = s->row_count,
         .y = m->gate,
         .y_stride = f->width},
        {.w = up, .x = x, .x_stride = up->shape.cols, .token_count = s->row_count, .y = m->up, .y_stride = f->width},
    };

    run_products(s, both, 2);
    run_bias(s, f->gate_bias, m->gate, s->row_count, f->width);
    run_bias(s, f->up_bias, m->up, s->row_count, f->width);
    run_activation(s, f->act, m->gate, m->up, (uint64_t)s->row_count * f->width);
    run_product(s, step_matrix(s, f->down), m->gate, y);
    run_bias(s, f->down_bias, y, s->row_count, s->engine->model->hidden_size);
}
