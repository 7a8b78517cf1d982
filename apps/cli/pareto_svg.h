/* pareto_svg.h - the curves of leat pareto as a small drawing. */
#ifndef CLI_PARETO_SVG_H
#define CLI_PARETO_SVG_H

#include "output.h"

typedef struct pareto_point {
    double budget_bytes;
    double predicted, measured; /* tokens a second; 0: none */
} pareto_point;

/* By rising budget. `title` is shown as it is but for characters that SVG needs escaped. */
void pareto_svg_write(output *out, const char *title, const pareto_point *points, uint32_t count);

#endif
