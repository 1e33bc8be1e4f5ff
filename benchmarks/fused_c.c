/* One EM pass of k linear Gaussian experts behind a softmax gate over (B, d, n) data: value, moments, gate derivatives.

   Rows are read in blocks that stay in the first caches; sums over a block run over all its rows at once.
   Layout of the sums of one replicate: value, gram (k, Q), cross (k, p), square (k), mass (k), gate gradient (k - 1, p),
   gate Hessian over the pairs of the first k - 1 branches (pairs, Q), with p = d + 1 and Q = p (p + 1) / 2. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 256

typedef double row[BLOCK];

/* out[i * count_b + j] += sum_t a[i][t] b[j][t], two rows by three */
static void sums(const row *restrict a, int count_a, const row *restrict b, int count_b, double *restrict out) {
    int i = 0;
    for (; i + 2 <= count_a; i += 2) {
        int j = 0;
        for (; j + 3 <= count_b; j += 3) {
            double s00 = 0, s01 = 0, s02 = 0, s10 = 0, s11 = 0, s12 = 0;
            for (int t = 0; t < BLOCK; t++) {
                s00 += a[i][t] * b[j][t];
                s01 += a[i][t] * b[j + 1][t];
                s02 += a[i][t] * b[j + 2][t];
                s10 += a[i + 1][t] * b[j][t];
                s11 += a[i + 1][t] * b[j + 1][t];
                s12 += a[i + 1][t] * b[j + 2][t];
            }
            double *o = out + i * count_b + j;
            o[0] += s00, o[1] += s01, o[2] += s02;
            o += count_b;
            o[0] += s10, o[1] += s11, o[2] += s12;
        }
        for (; j < count_b; j++) {
            double s0 = 0, s1 = 0;
            for (int t = 0; t < BLOCK; t++) s0 += a[i][t] * b[j][t], s1 += a[i + 1][t] * b[j][t];
            out[i * count_b + j] += s0, out[(i + 1) * count_b + j] += s1;
        }
    }
    for (; i < count_a; i++)
        for (int j = 0; j < count_b; j++) {
            double s = 0;
            for (int t = 0; t < BLOCK; t++) s += a[i][t] * b[j][t];
            out[i * count_b + j] += s;
        }
}

static void affine(const row *restrict x, int p, const double *restrict c, row out) {
    for (int t = 0; t < BLOCK; t++) out[t] = c[p - 1];
    for (int j = 0; j + 1 < p; j++)
        for (int t = 0; t < BLOCK; t++) out[t] += c[j] * x[j][t];
}

/* in place; the log of the normaliser goes to norm */
static void softmax(row *restrict v, int k, row norm) {
    row top, total;
    memcpy(top, v[0], sizeof top);
    for (int c = 1; c < k; c++)
        for (int t = 0; t < BLOCK; t++) top[t] = v[c][t] > top[t] ? v[c][t] : top[t];
    memset(total, 0, sizeof total);
    for (int c = 0; c < k; c++)
        for (int t = 0; t < BLOCK; t++) {
            v[c][t] = exp(v[c][t] - top[t]);
            total[t] += v[c][t];
        }
    for (int t = 0; t < BLOCK; t++) {
        norm[t] = top[t] + log(total[t]);
        total[t] = 1.0 / total[t];
    }
    for (int c = 0; c < k; c++)
        for (int t = 0; t < BLOCK; t++) v[c][t] *= total[t];
}

static void replicate(const double *x, const double *y, long n, int d, int k, const double *gate, const double *coef,
                      const double *variance, double *out, row *w) {
    int p = d + 1, q = p * (p + 1) / 2, pairs = k * (k - 1) / 2;
    row *design = w, *products = design + p, *share = products + q, *leaf = share + k, *weighed = leaf + k;
    row *pair = weighed + k, *pull = pair + pairs, *response = pull + k, *norm = response + 2, *value = norm + 2;
    double *gram = out + 1, *cross = gram + k * q, *square = cross + k * p, *mass = square + k;
    double *gradient = mass + k, *hessian = gradient + (k - 1) * p;
    for (int t = 0; t < BLOCK; t++) response[1][t] = 1.0;
    for (long start = 0; start < n; start += BLOCK) {
        int m = n - start < BLOCK ? (int)(n - start) : BLOCK;
        for (int i = 0; i < d; i++) {
            if (m < BLOCK) memset(design[i], 0, sizeof(row));
            memcpy(design[i], x + i * n + start, m * sizeof(double));
        }
        for (int t = 0; t < BLOCK; t++) design[d][t] = 1.0;
        memset(response[0], 0, sizeof(row));
        memcpy(response[0], y + start, m * sizeof(double));
        for (int i = 0, a = 0; i < p; i++)
            for (int j = i; j < p; j++, a++)
                for (int t = 0; t < BLOCK; t++) products[a][t] = design[i][t] * design[j][t];
        for (int c = 0; c < k; c++) {
            affine(design, p, gate + c * p, share[c]);
            affine(design, p, coef + c * p, leaf[c]);
            double scale = -0.5 / variance[c], size = 0.5 * log(2 * M_PI * variance[c]);
            for (int t = 0; t < BLOCK; t++) {
                double r = response[0][t] - leaf[c][t];
                leaf[c][t] = scale * r * r + share[c][t] - size;
            }
        }
        softmax(share, k, norm[0]);
        softmax(leaf, k, norm[1]);
        for (int t = 0; t < BLOCK; t++) value[0][t] = norm[1][t] - norm[0][t];
        if (m < BLOCK) { /* rows beyond the end count nothing */
            for (int t = m; t < BLOCK; t++) value[0][t] = 0.0;
            for (int c = 0; c < k; c++)
                for (int t = m; t < BLOCK; t++) share[c][t] = leaf[c][t] = 0.0;
        }
        for (int c = 0; c < k; c++)
            for (int t = 0; t < BLOCK; t++) {
                weighed[c][t] = leaf[c][t] * response[0][t];
                pull[c][t] = leaf[c][t] - share[c][t];
            }
        for (int a = 0, e = 0; a < k - 1; a++)
            for (int b = a; b < k - 1; b++, e++)
                for (int t = 0; t < BLOCK; t++) pair[e][t] = share[a][t] * (a == b ? share[b][t] - 1.0 : share[b][t]);
        sums(value, 1, response + 1, 1, out);
        sums(leaf, k, products, q, gram);
        sums(weighed, k, design, p, cross);
        sums(weighed, k, response, 1, square);
        sums(leaf, k, response + 1, 1, mass);
        sums(pull, k - 1, design, p, gradient);
        sums(pair, pairs, products, q, hessian);
    }
}

/* x (B, d, n), y (B, n), gate and coef (B, k, d + 1), variance (B, k), out (B, numbers) zero; 0 when memory is short */
int em_pass(const double *x, const double *y, long replicates, long n, int d, int k, const double *gate,
            const double *coef, const double *variance, double *out) {
    int p = d + 1, q = p * (p + 1) / 2, pairs = k * (k - 1) / 2, rows = p + q + 4 * k + pairs + 5;
    long numbers = 1 + k * q + k * p + 2 * k + (k - 1) * p + pairs * q;
    row *w = aligned_alloc(64, rows * sizeof(row));
    if (!w) return 0;
    for (long b = 0; b < replicates; b++)
        replicate(x + b * d * n, y + b * n, n, d, k, gate + b * k * p, coef + b * k * p, variance + b * k,
                  out + b * numbers, w);
    free(w);
    return 1;
}
