// Gradients of both operands: products of which bits leave terms out. Tiles of rows by the 32 steps of a word; a warp has
// all rows of its part, 8 steps to a thread. Plain C interface.
#include "cuda_tile.h"

extern "C" {

// Rows m of `first` to job.m - 1. Mirrored field by field by cuda_library.py.
struct fmaq_cuda_masked {
    fmaq_cuda_job job;     // of the product, its operands not scaled; `out` is not used, its strides are the gradient's
    int32_t of_w;          // 0: the gradient of x, rows m, summed over n; 1: that of w, rows n, summed over m
    int64_t first, slices; // of the sum over m, apart
    const uint32_t* bits;  // of fmaq_cuda_masks
    const float* grad;
    float* out;
    const int64_t* out_k;  // offset of step k
    int64_t to_batch, to_image, to_pixel, to_n, to_slice;  // strides of out
};
}

namespace fmaq {
namespace {

// OF_W: as of_w.
template <bool OF_W, int R, int WARP_ROWS>
struct MaskedThread {
    static constexpr int WARPS = THREADS / 32, OCTET = 8, WORD = 32, LANES = 8;  // LANES: threads of a warp along rows
    static constexpr int ROWS = LANES * R * WARP_ROWS, PARTS = WARPS / WARP_ROWS, EACH = 8, DEEP = EACH * PARTS;
    static constexpr int OF_ROWS = DEEP * ROWS / THREADS, OF_STEPS = DEEP * WORD / THREADS;
    struct Grid {
        fmaq_cuda_masked job;
        int64_t rows, deep, stages, words, row_tiles, tiles;
        explicit Grid(const fmaq_cuda_masked& j)
            : job(j), rows(OF_W ? j.job.n : j.job.m - j.first), deep(OF_W ? j.job.m - j.first : j.job.n),
              stages(ratio_up(ratio_up(deep, DEEP), j.slices)), words(ratio_up(j.job.k, WORD)),
              row_tiles(ratio_up(rows, ROWS)), tiles(j.job.batch * j.slices * row_tiles * words) {}
    };
    struct Memory {
        alignas(16) float grad[2][DEEP][ROWS + PAD];
        alignas(16) uint32_t bits[2][DEEP][ROWS + PAD];
        alignas(16) float y[2][DEEP][WORD + PAD];
        alignas(16) float sum[PARTS > 1 ? ROWS : 1][WORD + PAD];
        int64_t row_at[ROWS], step_at[WORD], grad_at[2][DEEP], y_at[2][DEEP];  // offsets
    };
    const Grid& grid;
    const fmaq_cuda_masked& masked;
    const fmaq_cuda_job& job;
    Memory& memory;
    int id, octet, row, part;
    int64_t batch, slice, first_row, first_deep, word;
    float acc[R][OCTET], grad_next[OF_ROWS], y_next[OF_STEPS];
    uint32_t bits_next[OF_ROWS];

    FMAQ_IN MaskedThread(const Grid& g, Memory& memory, int id)
        : grid(g), masked(g.job), job(g.job.job), memory(memory), id(id), octet(id % 4),
          row((id / 32 % WARP_ROWS * LANES + id % 32 / 4) * R), part(id / 32 / WARP_ROWS) {}

    template <class E>
    FMAQ_IN static void run(const Grid& grid, int64_t tile, const E& each) {
        each([&](MaskedThread& t) { t.start(tile); });
        each([&](MaskedThread& t) {
            t.fetch(0);
            t.put(0);
        });
        for (int64_t stage = 0; stage < grid.stages; stage++)
            each([&](MaskedThread& t) {
                const int half = static_cast<int>(stage % 2);
                t.fetch(stage + 1);
                t.compute(half);
                t.put(half ^ 1);
                t.locate(stage + 2);
            });
        if (PARTS > 1)
            for (int p = 0; p < PARTS; p++)
                each([&](MaskedThread& t) { t.add_up(p); });
        each([&](MaskedThread& t) { t.store(); });
    }

    FMAQ_IN void start(int64_t tile) {
        word = tile % grid.words;
        first_row = tile / grid.words % grid.row_tiles * ROWS;
        slice = tile / (grid.words * grid.row_tiles) % masked.slices;
        batch = tile / (grid.words * grid.row_tiles * masked.slices);
        first_deep = slice * grid.stages * DEEP;
        for (int i = id; i < ROWS; i += THREADS) {
            const int64_t r = first_row + i < grid.rows ? first_row + i : grid.rows - 1;
            memory.row_at[i] = batch * job.out_batch + (OF_W ? r * job.out_n : out_offset(job, masked.first + r));
        }
        for (int i = id; i < WORD; i += THREADS) {
            const int64_t k = word * WORD + i < job.k ? word * WORD + i : job.k - 1;
            memory.step_at[i] = OF_W ? batch * job.x_batch + job.x_k[k] : batch * job.w_batch + job.w_k[k];
        }
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int c = 0; c < OCTET; c++) acc[i][c] = 0;
        locate(0);
        locate(1);
    }
    // Where the terms of a stage are.
    FMAQ_IN void locate(int64_t stage) {
        for (int i = id; i < DEEP; i += THREADS) {
            int64_t d = first_deep + stage * DEEP + i;
            if (d >= grid.deep) d = grid.deep - 1;
            memory.grad_at[stage % 2][i] = OF_W ? out_offset(job, masked.first + d) : d * job.out_n;
            memory.y_at[stage % 2][i] = OF_W ? x_offset(job, masked.first + d) : d * job.w_n;
        }
    }
    // Threads next to each other read what lies next to each other.
    FMAQ_IN static int line_of(int i, int lines, bool deep) { return deep ? i / DEEP : i % lines; }
    FMAQ_IN static int deep_of(int i, int lines, bool deep) { return deep ? i % DEEP : i / lines; }
    FMAQ_IN bool grad_deep() const { return (job.out_n == 1) != OF_W; }
    FMAQ_IN bool bits_deep() const { return !OF_W; }
    FMAQ_IN bool y_deep() const { return !(OF_W ? job.x_along : job.w_along); }

    FMAQ_IN void fetch(int64_t stage) {
        if (stage >= grid.stages) return;
        const int half = static_cast<int>(stage % 2);
        const int64_t base = first_deep + stage * DEEP, m = job.m - masked.first;
        FMAQ_UNROLL for (int t = 0; t < OF_ROWS; t++) {
            const int i = id + t * THREADS, line = line_of(i, ROWS, grad_deep()), d = deep_of(i, ROWS, grad_deep());
            grad_next[t] = masked.grad[memory.row_at[line] + memory.grad_at[half][d]];
        }
        FMAQ_UNROLL for (int t = 0; t < OF_ROWS; t++) {
            const int i = id + t * THREADS;
            const int64_t r = first_row + line_of(i, ROWS, bits_deep()), d = base + deep_of(i, ROWS, bits_deep());
            const int64_t at = OF_W ? d * job.n + r : r * job.n + d;
            const bool inside = r < grid.rows && d < grid.deep;
            bits_next[t] = inside ? masked.bits[(batch * grid.words + word) * m * job.n + at] : 0;
        }
        const void* const y = OF_W ? job.x : job.w;
        const bool is_double = OF_W ? job.x_double : job.w_double;
        FMAQ_UNROLL for (int t = 0; t < OF_STEPS; t++) {
            const int i = id + t * THREADS, line = line_of(i, WORD, y_deep()), d = deep_of(i, WORD, y_deep());
            const int64_t from = memory.step_at[line] + memory.y_at[half][d];
            y_next[t] = is_double ? static_cast<float>(static_cast<const double*>(y)[from]) : static_cast<const float*>(y)[from];
        }
    }
    FMAQ_IN void put(int half) {
        FMAQ_UNROLL for (int t = 0; t < OF_ROWS; t++) {
            const int i = id + t * THREADS;
            memory.grad[half][deep_of(i, ROWS, grad_deep())][line_of(i, ROWS, grad_deep())] = grad_next[t];
            memory.bits[half][deep_of(i, ROWS, bits_deep())][line_of(i, ROWS, bits_deep())] = bits_next[t];
        }
        FMAQ_UNROLL for (int t = 0; t < OF_STEPS; t++) {
            const int i = id + t * THREADS;
            memory.y[half][deep_of(i, WORD, y_deep())][line_of(i, WORD, y_deep())] = y_next[t];
        }
    }
    FMAQ_IN void compute(int half) {
        FMAQ_UNROLL_TWO for (int e = 0; e < EACH; e++) {
            const int d = part * EACH + e;
            float g[R], y[OCTET];
            uint32_t bits[R];
            FMAQ_UNROLL for (int i = 0; i < R; i++) g[i] = memory.grad[half][d][row + i];
            FMAQ_UNROLL for (int i = 0; i < R; i++) bits[i] = memory.bits[half][d][row + i] >> (octet * OCTET);
            FMAQ_UNROLL for (int c = 0; c < OCTET; c++) y[c] = memory.y[half][d][octet * OCTET + c];
            FMAQ_UNROLL for (int i = 0; i < R; i++)
                FMAQ_UNROLL for (int c = 0; c < OCTET; c++)
                    if (bits[i] & 1u << c) acc[i][c] = fmaf(g[i], y[c], acc[i][c]);
        }
    }
    // One part after the other, in this order always.
    FMAQ_IN void add_up(int p) {
        if (part != p) return;
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int c = 0; c < OCTET; c++) {
                float& sum = memory.sum[row + i][octet * OCTET + c];
                sum = acc[i][c] = p ? sum + acc[i][c] : acc[i][c];
            }
    }
    FMAQ_IN void store() const {
        if (part != PARTS - 1) return;
        const int64_t pixels = job.pixel_rows * job.pixel_columns, to = batch * masked.to_batch + slice * masked.to_slice;
        FMAQ_UNROLL for (int i = 0; i < R; i++) {
            const int64_t r = first_row + row + i, m = masked.first + r;
            if (r >= grid.rows) return;
            const int64_t line = OF_W ? r * masked.to_n : m / pixels * masked.to_image + m % pixels * masked.to_pixel;
            FMAQ_UNROLL for (int c = 0; c < OCTET; c++) {
                const int64_t k = word * WORD + octet * OCTET + c;
                if (k < job.k) masked.out[to + line + masked.out_k[k]] = acc[i][c];
            }
        }
    }
};

template <bool OF_W, int R, int WARP_ROWS>
int launch_masked(const fmaq_cuda_masked& masked, void* stream) {
    using T = MaskedThread<OF_W, R, WARP_ROWS>;
    return launch<T>(typename T::Grid(masked), stream);
}

}  // namespace
}  // namespace fmaq

extern "C" const int64_t fmaq_cuda_masked_size = sizeof(fmaq_cuda_masked);

// Returns a cudaError_t.
extern "C" int fmaq_cuda_masked_product(const fmaq_cuda_masked* masked, void* stream) {
    if (!masked->of_w) return fmaq::launch_masked<false, 4, 8>(*masked, stream);
    return masked->job.n <= 16 ? fmaq::launch_masked<true, 2, 1>(*masked, stream) : fmaq::launch_masked<true, 4, 1>(*masked, stream);
}
