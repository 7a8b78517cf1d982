#include "pareto_svg.h"

#include "human.h"

#include <math.h>

enum { WIDTH = 720, HEIGHT = 420, LEFT = 64, RIGHT = 24, TOP = 48, BOTTOM = 56, TICKS = 5 };

typedef struct frame {
    output *out;
    double least, most, top; /* budgets, logarithmic; tokens a second */
} frame;

static double x_of(const frame *f, double budget)
{
    const double span = log(f->most / f->least);
    return LEFT + (span > 0 ? log(budget / f->least) / span : 0.5) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const frame *f, double rate) { return HEIGHT - BOTTOM - rate / f->top * (HEIGHT - TOP - BOTTOM); }

static void write_escaped(output *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<' || *text == '>' || *text == '&')
            output_print(out, "&#%d;", *text);
        else
            output_write(out, text, 1);
    }
}

/* 1, 2 or 5 times a power of ten, so that TICKS of them reach the highest value. */
static double step_of(double top)
{
    const double power = pow(10, floor(log10(top / TICKS)));
    static const double factors[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (factors[i] * power * TICKS >= top) return factors[i] * power;
    return 10 * power;
}

static void draw_axes(const frame *f, double step, const pareto_point *points, uint32_t count)
{
    char budget[HUMAN_BYTES];
    for (double rate = 0; rate <= f->top * 1.001; rate += step)
        output_print(f->out,
                     "<path class=\"g\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                     LEFT, y_of(f, rate), WIDTH - RIGHT, LEFT - 8, y_of(f, rate) + 4, rate);
    for (uint32_t i = 0; i < count; i++)
        output_print(f->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                     x_of(f, points[i].budget_bytes), HEIGHT - BOTTOM + 20,
                     human_bytes((uint64_t)points[i].budget_bytes, budget));
    output_print(f->out, "<path class=\"a\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
    output_print(f->out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">memory</text>\n", (LEFT + WIDTH - RIGHT) / 2,
                 HEIGHT - 12);
    output_print(f->out, "<text x=\"14\" y=\"%d\">tokens a second</text>\n", TOP - 12);
}

static void draw_curve(const frame *f, const char *name, int row, const pareto_point *points, uint32_t count)
{
    char letter = 'M';
    bool is_any = false;
    for (uint32_t i = 0; i < count; i++) is_any |= (row ? points[i].measured : points[i].predicted) > 0;
    if (!is_any) return;
    output_print(f->out, "<path class=\"c%d\" d=\"", row);
    for (uint32_t i = 0; i < count; i++) {
        const double rate = row ? points[i].measured : points[i].predicted;
        if (!(rate > 0)) continue;
        output_print(f->out, "%c%.1f %.1f", letter, x_of(f, points[i].budget_bytes), y_of(f, rate));
        letter = 'L';
    }
    output_print(f->out, "\"/>\n<path class=\"c%d\" d=\"M%d %dh24\"/><text x=\"%d\" y=\"%d\">%s</text>\n", row,
                 WIDTH - 180, TOP - 28 + 18 * row, WIDTH - 148, TOP - 24 + 18 * row, name);
}

void pareto_svg_write(output *out, const char *title, const pareto_point *points, uint32_t count)
{
    frame f = {.out = out, .least = points[0].budget_bytes, .most = points[count - 1].budget_bytes, .top = 1e-6};
    for (uint32_t i = 0; i < count; i++) f.top = fmax(f.top, fmax(points[i].predicted, points[i].measured));
    const double step = step_of(f.top);
    f.top = ceil(f.top / step) * step;
    output_print(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
                 "font-size=\"12\">\n<style>path{fill:none}.a{stroke:#333}.g{stroke:#ddd}.c0{stroke:#1f6fb4;"
                 "stroke-width:2}.c1{stroke:#d2691e;stroke-width:2;stroke-dasharray:6 3}</style>\n",
                 WIDTH, HEIGHT);
    output_print(out, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n<text x=\"14\" y=\"18\" font-size=\"14\">",
                 WIDTH, HEIGHT);
    write_escaped(out, title);
    output_print(out, "</text>\n");
    draw_axes(&f, step, points, count);
    draw_curve(&f, "predicted", 0, points, count);
    draw_curve(&f, "measured", 1, points, count);
    output_print(out, "</svg>\n");
}
