// Gradients of convolutions: blocks of pixels, whose patches' gradients are added to the images one block after another.
#pragma once
#include "backward.h"

namespace fmaq {
namespace {

constexpr int64_t BLOCK_BYTES = int64_t(2) << 20;  // of patches' gradients
constexpr int64_t LEAST_PANELS = 8;

// Adds patches' gradients, [panel][k][WIDTH] from pixel `first` on, to one channel of the images.
template <int WIDTH>
void scatter(const fmaq_job& job, const fmaq_gradient& g, int64_t batch, int64_t channel, int64_t first, int64_t last,
             const float* patches) {
    const int64_t line = job.width + 2 * job.pad_columns, plane = (job.height + 2 * job.pad_rows) * line;
    const int64_t row_stride = job.x_row / line, pixels = job.pixel_rows * job.pixel_columns;
    const int64_t channels = job.x_image / plane;
    float* to = g.of_x + (batch * job.x_batch / plane + channel) * job.height * job.width;
    for (int64_t k = 0; k < job.k; k++) {
        if (job.x_k[k] / plane != channel) continue;
        const int64_t down = job.x_k[k] % plane / line - job.pad_rows, right = job.x_k[k] % line - job.pad_columns;
        for (int64_t at = first; at < last;) {
            // A run of pixels of one row, in one panel.
            const int64_t column = at % job.pixel_columns, lane = (at - first) % WIDTH;
            int64_t count = job.pixel_columns - column;
            if (count > WIDTH - lane) count = WIDTH - lane;
            if (count > last - at) count = last - at;
            const int64_t image = at / pixels, y = at / job.pixel_columns % job.pixel_rows * row_stride + down;
            if (y >= 0 && y < job.height) {
                const float* from = patches + ((at - first) / WIDTH * job.k + k) * WIDTH + lane;
                float* row = to + (image * channels * job.height + y) * job.width;
                const int64_t stride = job.x_column, x = column * stride + right;
                int64_t begin = 0, end = count;
                while (begin < end && x + begin * stride < 0) begin++;
                while (end > begin && x + (end - 1) * stride >= job.width) end--;
                if (stride == 1)
                    for (int64_t j = begin; j < end; j++) row[x + j] += from[j];
                else
                    for (int64_t j = begin; j < end; j++) row[x + j * stride] += from[j];
            }
            at += count;
        }
    }
}

// Pixels first .. last - 1, counted over all images, of all groups.
template <class M>
int block_backward(const fmaq_job& whole, const fmaq_gradient& g, int64_t first, int64_t last, Turns& turns) {
    // The images that these pixels are of, surrounded by zeros: a job of their own.
    const int64_t pixels = whole.pixel_rows * whole.pixel_columns;
    const int64_t from = first / pixels, images = (last - 1) / pixels - from + 1;
    const int64_t plane = (whole.height + 2 * whole.pad_rows) * (whole.width + 2 * whole.pad_columns);
    const int64_t channels = whole.x_image / plane, raw = from * channels * whole.height * whole.width;
    fmaq_job job = whole;
    job.planes = images * channels;
    job.x = whole.x_double ? static_cast<const void*>(static_cast<const double*>(whole.x) + raw)
                           : static_cast<const void*>(static_cast<const float*>(whole.x) + raw);
    Buffer<float> singles;
    Buffer<double> doubles;
    if (!(job.x_double ? pad(job, doubles) : pad(job, singles))) return 2;
    job.x = job.x_double ? static_cast<void*>(doubles.data) : static_cast<void*>(singles.data);
    const int64_t begin = first - from * pixels, end = last - from * pixels;
    job.m = end;
    fmaq_gradient gradient = g;
    gradient.of_x = g.of_x + raw;
    const M maker(job, gradient, true, from * pixels);
    const float* of_out = g.of_out + from * job.out_image;
    const int64_t tiles = (job.n + M::ROWS - 1) / M::ROWS, panels = (end - begin + M::WIDTH - 1) / M::WIDTH;
    const int64_t group_channels = channels / job.batch;
    const size_t room = static_cast<size_t>(panels * job.k * M::WIDTH);

    const bool apart = job.batch >= 2 * threads_of(job);
    typename M::Shared shared{};
    Buffer<float> patches;
    std::atomic<bool> no_memory{false}, lost{false};
    if (!apart && (!maker.reserve(shared, tiles) || !patches.get(room))) return 2;
#pragma omp parallel num_threads(threads_of(job))
    {
        Mode mode(Mode::DEFAULT);
        typename M::Shared own{};
        Buffer<float> own_patches;
        Desk<M> desk;
        if (!desk.reserve(maker, job.k, job.chunk) || (apart && (!maker.reserve(own, tiles) || !own_patches.get(room))))
            no_memory = true;
#pragma omp barrier
        if (!no_memory && apart) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t b = 0; b < job.batch; b++) {
                Pass<M>{job, gradient, maker, b, begin, end, own_patches.data, of_out}.run(own, desk, nullptr);
                for (int64_t c = 0; c < group_channels; c++)
                    scatter<M::WIDTH>(job, gradient, b, c, begin, end, own_patches.data);
            }
        } else if (!no_memory) {
            for (int64_t b = 0; b < job.batch; b++) {
                Pass<M>{job, gradient, maker, b, begin, end, patches.data, of_out}.run(shared, desk, &turns);
#pragma omp for schedule(static)
                for (int64_t c = 0; c < group_channels; c++)
                    scatter<M::WIDTH>(job, gradient, b, c, begin, end, patches.data);
            }
        }
        if (maker.lost(desk.local)) lost = true;
    }
    return no_memory ? 2 : lost ? 1 : 0;
}

template <class M>
int images_backward(const fmaq_job& job, const fmaq_gradient& g) {
    int64_t panels = BLOCK_BYTES / (job.k * M::WIDTH * static_cast<int64_t>(sizeof(float)));
    if (panels < LEAST_PANELS) panels = LEAST_PANELS;
    Turns turns;
    if (!turns.reserve((job.n + M::ROWS - 1) / M::ROWS)) return 2;
    int worst = 0;
    for (int64_t first = 0; first < job.m; first += panels * M::WIDTH) {
        const int64_t last = first + panels * M::WIDTH < job.m ? first + panels * M::WIDTH : job.m;
        const int code = block_backward<M>(job, g, first, last, turns);
        if (code == 2) return 2;
        if (code > worst) worst = code;
    }
    return worst;
}

}  // namespace
}  // namespace fmaq
